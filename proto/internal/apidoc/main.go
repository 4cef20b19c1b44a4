// Command apidoc is a plugin of the schema compiler that writes API.md: every
// service, method, message and enum with the comments of the schemas, and
// where a method stands over HTTP. Its option http names the file that says so.
package main

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/pluginpb"
)

func main() {
	var flags flag.FlagSet
	http := flags.String("http", "", "file of the HTTP paths, a google.api.Service")
	protogen.Options{ParamFunc: flags.Set}.Run(func(p *protogen.Plugin) error {
		p.SupportedFeatures = uint64(pluginpb.CodeGeneratorResponse_FEATURE_PROTO3_OPTIONAL)
		paths, err := readPaths(*http)
		if err != nil {
			return err
		}
		page{p.NewGeneratedFile("API.md", ""), paths}.write(p.Files)
		return nil
	})
}

// readPaths returns the verb and path of each method, by its full name.
func readPaths(file string) (map[string]string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the HTTP paths: %w", err)
	}
	var table struct {
		HTTP struct {
			Rules []struct{ Selector, Get, Post string }
		}
	}
	if err := yaml.Unmarshal(b, &table); err != nil {
		return nil, fmt.Errorf("reading the HTTP paths: %w", err)
	}
	paths := make(map[string]string)
	for _, r := range table.HTTP.Rules {
		paths[r.Selector] = "GET " + r.Get
		if r.Post != "" {
			paths[r.Selector] = "POST " + r.Post
		}
	}
	return paths, nil
}

// page is the page under work.
type page struct {
	*protogen.GeneratedFile
	paths map[string]string
}

func (p page) write(files []*protogen.File) {
	p.P("# The API")
	p.P()
	p.P("Generated from the schemas by `buf generate`; do not edit. Every method is gRPC, and JSON over HTTP at the path beside it:")
	p.P("names in lowerCamelCase, bytes as base64, 64-bit numbers as strings, a stream as one JSON object a line. What answers")
	p.P("prove, and how a client checks it, is in [SPEC.md](SPEC.md).")
	var messages []*protogen.Message
	var enums []*protogen.Enum
	for _, f := range files {
		if !f.Generate {
			continue
		}
		for _, s := range f.Services {
			p.service(s)
		}
		all, inner := nested(f.Messages)
		messages, enums = append(messages, all...), append(append(enums, f.Enums...), inner...)
	}
	p.P()
	p.P("# Messages")
	slices.SortStableFunc(messages, func(a, b *protogen.Message) int { return cmp.Compare(a.Desc.FullName(), b.Desc.FullName()) })
	for _, m := range messages {
		p.message(m)
	}
	p.P()
	p.P("# Enums")
	slices.SortStableFunc(enums, func(a, b *protogen.Enum) int { return cmp.Compare(a.Desc.FullName(), b.Desc.FullName()) })
	for _, e := range enums {
		p.enum(e)
	}
}

func nested(list []*protogen.Message) (messages []*protogen.Message, enums []*protogen.Enum) {
	for _, m := range list {
		inner, innerEnums := nested(m.Messages)
		messages = append(append(messages, m), inner...)
		enums = append(append(enums, m.Enums...), innerEnums...)
	}
	return messages, enums
}

func (p page) service(s *protogen.Service) {
	p.P()
	p.P("# ", s.Desc.Name())
	p.P()
	p.P("`", s.Desc.FullName(), "`. ", text(s.Comments))
	for _, m := range s.Methods {
		p.P()
		p.P("## ", m.GoName)
		p.P()
		p.P("    rpc ", m.GoName, "(", streamed(m.Desc.IsStreamingClient()), m.Input.Desc.Name(), ") returns (", streamed(m.Desc.IsStreamingServer()), m.Output.Desc.Name(), ")")
		p.P("    ", p.paths[string(m.Desc.FullName())])
		p.P()
		p.P(text(m.Comments))
		p.P()
		p.P("Takes [", m.Input.Desc.Name(), "](#", anchor(m.Input.Desc), "), gives [", m.Output.Desc.Name(), "](#", anchor(m.Output.Desc), ").")
	}
}

func streamed(yes bool) string {
	if yes {
		return "stream "
	}
	return ""
}

func (p page) message(m *protogen.Message) {
	p.P()
	p.P("## ", title(m.Desc))
	if t := text(m.Comments); t != "" {
		p.P()
		p.P(t)
	}
	if len(m.Fields) == 0 {
		return
	}
	p.P()
	p.P("| field | type | |")
	p.P("|---|---|---|")
	for _, f := range m.Fields {
		about := text(f.Comments)
		if f.Oneof != nil && !f.Oneof.Desc.IsSynthetic() {
			about = strings.TrimSpace("One of `" + string(f.Oneof.Desc.Name()) + "`. " + about)
		}
		p.P("| `", f.Desc.Name(), "` | ", kind(f), " | ", cell(about), " |")
	}
}

func kind(f *protogen.Field) string {
	name := f.Desc.Kind().String()
	var d protoreflect.Descriptor
	switch {
	case f.Message != nil:
		d = f.Message.Desc
	case f.Enum != nil:
		d = f.Enum.Desc
	}
	if d != nil {
		name = string(d.Name())
		if strings.HasPrefix(string(d.FullName()), "idlog.") {
			name = "[" + title(d) + "](#" + anchor(d) + ")"
		}
	}
	switch {
	case f.Desc.IsList():
		return "list of " + name
	case f.Desc.HasOptionalKeyword():
		return "optional " + name
	}
	return name
}

func (p page) enum(e *protogen.Enum) {
	p.P()
	p.P("## ", title(e.Desc))
	if t := text(e.Comments); t != "" {
		p.P()
		p.P(t)
	}
	p.P()
	p.P("| value | number | |")
	p.P("|---|---|---|")
	for _, v := range e.Values {
		p.P("| `", v.Desc.Name(), "` | ", v.Desc.Number(), " | ", cell(text(v.Comments)), " |")
	}
}

// title is a name within its package, and anchor is where a page shows it.
func title(d protoreflect.Descriptor) string {
	return strings.TrimPrefix(string(d.FullName()), string(d.ParentFile().Package())+".")
}

func anchor(d protoreflect.Descriptor) string {
	return strings.ToLower(strings.ReplaceAll(title(d), ".", ""))
}

// text is a comment as one paragraph or several.
func text(c protogen.CommentSet) string {
	var paragraphs []string
	for _, p := range strings.Split(string(c.Leading)+string(c.Trailing), "\n\n") {
		if p = strings.Join(strings.Fields(p), " "); p != "" {
			paragraphs = append(paragraphs, p)
		}
	}
	return strings.Join(paragraphs, "\n\n")
}

// cell is a text that fits a table.
func cell(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "\n\n", " "), "|", `\|`)
}
