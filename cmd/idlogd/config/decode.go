package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"idlog/cmd/internal/serve"
)

// Read reads and judges a file, with settings in place of what it says; of two for one path the later holds. Every error is a
// *serve.ExitError or one of the file system, and names file, line and field, or the variable or flag, and what to do; a
// missing file says how to make one.
func Read(file string, settings ...Setting) (*Config, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, &serve.ExitError{
			Code:   serve.CodeInit,
			Err:    fmt.Errorf("no log is initialised here: %s does not exist", file),
			Remedy: fmt.Sprintf("idlogd init --dir %s --family example.com/id --source NAME", filepath.Dir(file)),
		}
	}
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	c, err := Parse(file, b, settings...)
	if err != nil {
		return nil, &serve.ExitError{Code: serve.CodeUsage, Err: err}
	}
	return c, nil
}

// Parse judges the text of a file as Read does. Names of files and folders in it become independent of where the process
// stands.
func Parse(file string, b []byte, settings ...Setting) (*Config, error) {
	c := &Config{File: file, root: new(yaml.Node), origin: make(map[string]string)}
	dec := yaml.NewDecoder(bytes.NewReader(b))
	if err := dec.Decode(c.root); errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: the file is empty", file)
	} else if err != nil {
		return nil, yamlError(file, err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: more than one document; keep the first", file)
	}
	d := decoder{c: c}
	d.value(c.root.Content[0], reflect.ValueOf(c).Elem(), "")
	if len(d.errs) > 0 {
		return nil, errors.Join(d.errs...)
	}
	for _, s := range settings {
		if err := c.set(s); err != nil {
			return nil, err
		}
	}
	c.withDefaults()
	c.resolve(filepath.Dir(file))
	if err := c.check(); err != nil {
		return nil, err
	}
	return c, nil
}

var yamlLine = regexp.MustCompile(`^(?:yaml: )?line (\d+): (.*)$`)

// yamlError says as file:line: text what is no YAML.
func yamlError(file string, err error) error {
	text := err.Error()
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		return fmt.Errorf("%s:%s: %s", file, m[1], m[2])
	}
	return fmt.Errorf("%s: %s", file, strings.TrimPrefix(text, "yaml: "))
}

// A decoder brings the nodes of a file into a Config. It says all that is wrong, not only the first.
type decoder struct {
	c    *Config
	errs []error
}

func (d *decoder) refuse(n *yaml.Node, path, format string, args ...any) {
	if path != "" {
		path += ": "
	}
	d.errs = append(d.errs, fmt.Errorf("%s:%d: %s%s", d.c.File, n.Line, path, fmt.Sprintf(format, args...)))
}

// value decodes the node n, which stands at path.
func (d *decoder) value(n *yaml.Node, v reflect.Value, path string) {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		d.refuse(n, path, "anchors and aliases are not read; write the value out")
	case v.Kind() == reflect.Struct:
		d.mapping(n, v, path)
	case v.Kind() == reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			d.refuse(n, path, "must be a list")
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
		d.c.origin[path] = fmt.Sprintf("%s:%d", d.c.File, n.Line)
		for i, child := range n.Content {
			d.value(child, v.Index(i), join(path, strconv.Itoa(i)))
		}
	case n.Kind != yaml.ScalarNode || n.Tag == "!!null":
		d.refuse(n, path, "must be %s", kindOf(v.Type()))
	case v.Kind() == reflect.String && n.Tag != "!!str":
		d.refuse(n, path, "must be %s; put quotes around it", kindOf(v.Type()))
	default:
		if err := setScalar(v, n.Value); err != nil {
			d.refuse(n, path, "%v", err)
		}
		d.c.origin[path] = fmt.Sprintf("%s:%d", d.c.File, n.Line)
	}
}

func (d *decoder) mapping(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.MappingNode {
		d.refuse(n, path, "must be a block of settings")
		return
	}
	seen := make(map[string]int)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, child := n.Content[i], n.Content[i+1]
		if line := seen[key.Value]; line > 0 {
			d.refuse(key, join(path, key.Value), "stands on line %d already", line)
			continue
		}
		seen[key.Value] = key.Line
		field, ok := fieldOf(v, key.Value)
		if !ok {
			d.refuse(key, join(path, key.Value), "no such setting; %s", nearest(key.Value, v.Type()))
			continue
		}
		d.value(child, field, join(path, key.Value))
	}
}

// setScalar reads a text into a scalar of a Config.
func setScalar(v reflect.Value, text string) error {
	switch p := v.Addr().Interface().(type) {
	case *string:
		*p = text
	case **bool:
		b, err := parseBool(text)
		if err != nil {
			return err
		}
		*p = &b
	case *bool:
		b, err := parseBool(text)
		if err != nil {
			return err
		}
		*p = b
	case *int64:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", text)
		}
		*p = n
	case *time.Duration:
		t, err := time.ParseDuration(text)
		if err != nil || text == "0" {
			return fmt.Errorf("%q is not a duration; write a number and a unit, such as 250ms, 10s or 1h30m", text)
		}
		*p = t
	case *Size:
		s, err := parseSize(text)
		if err != nil {
			return err
		}
		*p = s
	default:
		return fmt.Errorf("is %s and stands in the file only", kindOf(v.Type()))
	}
	return nil
}

func parseBool(text string) (bool, error) {
	switch text {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither true nor false", text)
}

// kindOf names what a setting holds, for people.
func kindOf(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[time.Duration]():
		return "a duration"
	case reflect.TypeFor[Size]():
		return "a size"
	case reflect.TypeFor[*bool](), reflect.TypeFor[bool]():
		return "true or false"
	}
	switch t.Kind() {
	case reflect.String:
		return "a text"
	case reflect.Slice:
		return "a list"
	case reflect.Struct:
		return "a block"
	}
	return "a number"
}

// nearest says which key of a struct may have been meant.
func nearest(key string, t reflect.Type) string {
	best, least := "", 3
	for i := range t.NumField() {
		name := keyOf(t.Field(i))
		if name == "" {
			continue
		}
		if n := distance(key, name); n < least {
			best, least = name, n
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean %s?", best)
	}
	return "`idlogd config manual` shows them all"
}

// distance is how many letters to change, add, drop or swap with the next between two words.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range b {
		rows[0][j+1] = j + 1
	}
	for i := range len(a) {
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			n := min(rows[i][j+1]+1, rows[i+1][j]+1, rows[i][j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				n = min(n, rows[i-1][j-1]+1)
			}
			rows[i+1][j+1] = n
		}
	}
	return rows[len(a)][len(b)]
}
