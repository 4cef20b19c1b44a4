package config

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// source is the file that declares Config: its comments are the manual.
//
//go:embed config.go
var source string

// docs are the comments of the fields of Config by "Type.Field".
func docs() (map[string]string, error) {
	f, err := parser.ParseFile(token.NewFileSet(), "config.go", source, parser.ParseComments)
	if err != nil {
		return nil, fmt.Errorf("reading the manual: %w", err)
	}
	all := make(map[string]string)
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		if s, ok := spec.Type.(*ast.StructType); ok {
			for _, field := range s.Fields.List {
				for _, name := range field.Names {
					all[spec.Name.Name+"."+name.Name] = strings.Join(strings.Fields(field.Doc.Text()), " ")
				}
			}
		}
		return true
	})
	return all, nil
}

// Entry is what the manual says of one setting.
type Entry struct {
	Path     string // with N for the place in a list
	Variable string // of the environment; empty for a list and a block
	Doc      string
	Kind     string // "a text", "a duration", "a list", "a block" and so on
	Default  string // empty if there is none
	Reload   bool   // at SIGHUP
}

// Entries returns the manual, in the order of the file.
func Entries() ([]Entry, error) {
	texts, err := docs()
	if err != nil {
		return nil, err
	}
	c := &Config{Logs: []Log{{Sources: []Source{{}}}}}
	c.withDefaults()
	var all []Entry
	entries(reflect.ValueOf(c).Elem(), "", texts, func(e Entry) { all = append(all, e) })
	return all, nil
}

func entries(v reflect.Value, path string, texts map[string]string, add func(Entry)) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		key := keyOf(f)
		if key == "" {
			continue
		}
		e := Entry{Path: join(path, key), Doc: texts[v.Type().Name()+"."+f.Name], Kind: kindOf(f.Type), Reload: f.Tag.Get("reload") != ""}
		if isScalar(f.Type) {
			e.Variable = prefix + strings.ToUpper(strings.ReplaceAll(e.Path, ".", "_"))
			e.Default = textOf(v.Field(i))
			if !strings.Contains(f.Tag.Get("yaml"), "omitempty") { // must be given
				e.Default = ""
			}
		}
		add(e)
		switch {
		case f.Type.Kind() == reflect.Struct:
			entries(v.Field(i), e.Path, texts, add)
		case f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct:
			entries(v.Field(i).Index(0), join(e.Path, "N"), texts, add)
		}
	}
}

// textOf is a scalar as the file would have it; "" for one that says nothing by being zero.
func textOf(v reflect.Value) string {
	switch p := v.Interface().(type) {
	case string:
		return p
	case bool:
		return strconv.FormatBool(p)
	case *bool:
		if p == nil {
			return ""
		}
		return strconv.FormatBool(*p)
	case int64:
		return strconv.FormatInt(p, 10)
	case time.Duration:
		return p.String()
	case Size:
		if p == 0 {
			return ""
		}
		return p.String()
	}
	return ""
}

// Manual is the reference page of the configuration in Markdown.
func Manual() (string, error) {
	all, err := Entries()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("| setting and variable | default | what it means |\n|---|---|---|\n")
	for _, e := range all {
		value := ""
		if e.Default != "" {
			value = "`" + e.Default + "`"
		}
		doc := e.Doc
		if e.Reload {
			doc += " *SIGHUP*"
		}
		name := "`" + e.Path + "`"
		if e.Variable != "" {
			name += "<br>`" + e.Variable + "`"
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", name, value, strings.ReplaceAll(doc, "|", "\\|"))
	}
	return b.String(), nil
}

// Schema is a JSON Schema of the file, for editors.
func Schema() ([]byte, error) {
	texts, err := docs()
	if err != nil {
		return nil, err
	}
	all, err := Entries()
	if err != nil {
		return nil, err
	}
	defaults := make(map[string]string)
	for _, e := range all {
		defaults[e.Path] = e.Default
	}
	s := schemaOf(reflect.TypeFor[Config](), "", texts, defaults)
	s["$schema"], s["title"] = "https://json-schema.org/draft/2020-12/schema", "idlogd.yaml"
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("making the schema: %w", err)
	}
	return append(b, '\n'), nil
}

func schemaOf(t reflect.Type, path string, texts, defaults map[string]string) map[string]any {
	switch t {
	case reflect.TypeFor[time.Duration]():
		return map[string]any{"type": "string", "pattern": `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`}
	case reflect.TypeFor[Size]():
		return map[string]any{"type": "string", "pattern": sizeForm.String()}
	case reflect.TypeFor[*bool](), reflect.TypeFor[bool]():
		return map[string]any{"type": "boolean"}
	}
	switch t.Kind() {
	case reflect.Slice:
		return map[string]any{"type": "array", "items": schemaOf(t.Elem(), join(path, "N"), texts, defaults)}
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Int64:
		return map[string]any{"type": "integer", "minimum": 0}
	}
	properties, required := make(map[string]any), []string{}
	for i := range t.NumField() {
		f := t.Field(i)
		key := keyOf(f)
		if key == "" {
			continue
		}
		p := schemaOf(f.Type, join(path, key), texts, defaults)
		p["description"] = texts[t.Name()+"."+f.Name]
		if d := defaults[join(path, key)]; d != "" {
			switch p["type"] {
			case "boolean":
				p["default"] = d == "true"
			case "integer":
				p["default"] = json.Number(d)
			default:
				p["default"] = d
			}
		}
		properties[key] = p
		if !strings.Contains(f.Tag.Get("yaml"), "omitempty") && !slices.Contains([]string{"issuer", "client_ca"}, key) {
			required = append(required, key)
		}
	}
	return map[string]any{"type": "object", "additionalProperties": false, "properties": properties, "required": required}
}

// Print writes the settings as YAML, each with where its value comes from: those that somebody made, and with all of them the
// defaults too. What it writes can be read again, from wherever it stands.
func (c *Config) Print(all bool) string {
	var b strings.Builder
	c.print(&b, reflect.ValueOf(c).Elem(), "", "", all)
	return b.String()
}

func (c *Config) print(b *strings.Builder, v reflect.Value, path, indent string, all bool) {
	for i := range v.NumField() {
		key := keyOf(v.Type().Field(i))
		if key == "" {
			continue
		}
		at, f := join(path, key), v.Field(i)
		switch {
		case f.Kind() == reflect.Struct:
			var block strings.Builder
			c.print(&block, f, at, indent+"  ", all)
			if block.Len() > 0 {
				fmt.Fprintf(b, "%s%s:\n%s", indent, key, &block)
			}
		case f.Kind() == reflect.Slice && f.Type().Elem().Kind() == reflect.Struct:
			c.printList(b, f, at, key, indent, all)
		case f.Kind() == reflect.Slice:
			var items []string
			for j := range f.Len() {
				items = append(items, strconv.Quote(anywhere(at, f.Index(j).String())))
			}
			c.line(b, at, fmt.Sprintf("%s%s: [%s]", indent, key, strings.Join(items, ", ")), all)
		default:
			text := textOf(f)
			if f.Kind() == reflect.String {
				if text == "" {
					continue
				}
				text = strconv.Quote(anywhere(key, text))
			}
			if text != "" {
				c.line(b, at, fmt.Sprintf("%s%s: %s", indent, key, text), all)
			}
		}
	}
}

func (c *Config) printList(b *strings.Builder, f reflect.Value, at, key, indent string, all bool) {
	if f.Len() == 0 {
		c.line(b, at, indent+key+": []", all)
		return
	}
	fmt.Fprintf(b, "%s%s:\n", indent, key)
	for j := range f.Len() {
		var block strings.Builder
		c.print(&block, f.Index(j), join(at, strconv.Itoa(j)), indent+"    ", all)
		b.WriteString(indent + "  - " + strings.TrimPrefix(block.String(), indent+"    "))
	}
}

// anywhere is a value as it means the same wherever it stands: the name of a file becomes absolute, if the working directory
// is known.
func anywhere(key, value string) string {
	if fileKeys[key] || strings.HasSuffix(key, ".keys.log") {
		if full, err := filepath.Abs(value); err == nil {
			return full
		}
	}
	return value
}

// line writes one setting with where it comes from.
func (c *Config) line(b *strings.Builder, path, text string, all bool) {
	from, made := c.origin[path]
	if !made {
		from = "default"
	}
	if made || all {
		fmt.Fprintf(b, "%-60s # %s\n", text, from)
	}
}
