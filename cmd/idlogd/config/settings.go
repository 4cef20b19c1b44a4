package config

import (
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"idlog/cmd/internal/serve"
)

// Setting is one value that stands in place of the file's.
type Setting struct {
	Path  string // such as logs.0.ack_timeout
	Value string // as the file would have it
	From  string // who says so: "--listen-grpc", or the name of a variable
}

// ParseSetting reads PATH=VALUE. Its error is a *serve.ExitError.
func ParseSetting(s, from string) (Setting, error) {
	path, value, ok := strings.Cut(s, "=")
	if !ok || path == "" {
		return Setting{}, serve.Usagef("%s %q is not PATH=VALUE, such as logs.0.ack_timeout=5s", from, s)
	}
	return Setting{Path: path, Value: value, From: from + " " + path}, nil
}

// prefix begins the variables of the environment that are settings. fileVariable and those of tests are none.
const (
	prefix       = "IDLOGD_"
	fileVariable = prefix + "CONFIG"
)

// Environ returns the settings of an environment, each NAME=VALUE: IDLOGD_ and the path in capitals, with "_" for ".", such
// as IDLOGD_LISTEN_GRPC and IDLOGD_LOGS_0_ACK_TIMEOUT. Only single values can be set so, no lists. A variable that begins with
// IDLOGD_ and names no setting is a *serve.ExitError. IDLOGD_CONFIG names the file and is not returned.
func Environ(environ []string) ([]Setting, error) {
	var settings []Setting
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		if !strings.HasPrefix(name, prefix) || name == fileVariable {
			continue
		}
		path, ok := pathOf(reflect.TypeFor[Config](), strings.TrimPrefix(name, prefix))
		if !ok {
			return nil, &serve.ExitError{
				Code:   serve.CodeUsage,
				Err:    fmt.Errorf("the environment has %s, which is no setting", name),
				Remedy: "unset it, or look for its name in `idlogd config manual`",
			}
		}
		settings = append(settings, Setting{Path: path, Value: value, From: name})
	}
	return settings, nil
}

// FileIn is the file that an environment names, or Name.
func FileIn(environ []string) string {
	for _, e := range slices.Backward(environ) {
		if file, ok := strings.CutPrefix(e, fileVariable+"="); ok && file != "" {
			return file
		}
	}
	return Name
}

// pathOf finds the path that the rest of a variable's name means in a type.
func pathOf(t reflect.Type, rest string) (string, bool) {
	switch {
	case isScalar(t):
		return "", rest == ""
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		digits, rest, ok := strings.Cut(rest, "_")
		if n, err := strconv.Atoi(digits); !ok || err != nil || n < 0 || strconv.Itoa(n) != digits {
			return "", false
		}
		path, ok := pathOf(t.Elem(), rest)
		return join(digits, path), ok
	case t.Kind() == reflect.Struct:
		for i := range t.NumField() {
			key := keyOf(t.Field(i))
			below, ok := strings.CutPrefix(rest, strings.ToUpper(key))
			if key == "" || !ok {
				continue
			}
			if below != "" {
				if below, ok = strings.CutPrefix(below, "_"); !ok {
					continue
				}
			}
			if path, ok := pathOf(t.Field(i).Type, below); ok {
				return join(key, path), true
			}
		}
	}
	return "", false
}

// set puts a setting in the place of what the file says.
func (c *Config) set(s Setting) error {
	v := reflect.ValueOf(c).Elem()
	for _, part := range strings.Split(s.Path, ".") {
		next, ok := reflect.Value{}, false
		switch v.Kind() {
		case reflect.Struct:
			next, ok = fieldOf(v, part)
		case reflect.Slice:
			n, err := strconv.Atoi(part)
			if ok = err == nil && n >= 0 && n < v.Len(); ok {
				next = v.Index(n)
			} else if err == nil {
				return fmt.Errorf("%s: %s has %d of them in %s, counted from 0", s.From, s.Path, v.Len(), c.File)
			}
		}
		if !ok {
			return fmt.Errorf("%s: there is no setting %s; `idlogd config manual` shows them all", s.From, s.Path)
		}
		v = next
	}
	if err := setScalar(v, s.Value); err != nil {
		return fmt.Errorf("%s: %s: %w", s.From, s.Path, err)
	}
	c.origin[s.Path] = s.From
	// A file is where the process stands if a flag or a variable names it, as everywhere else.
	if fileKeys[s.Path[strings.LastIndexByte(s.Path, '.')+1:]] && s.Value != "" {
		here, err := os.Getwd()
		if err != nil {
			return fmt.Errorf("%s: %w", s.From, err)
		}
		v.SetString(absolute(here, s.Value))
	}
	return nil
}

// Changed returns the paths at which two configurations differ: those that take effect at SIGHUP, and those that need a
// restart. A list that grew or shrank is one path and needs a restart, but for principals and readers.
func Changed(old, now *Config) (reload, restart []string) {
	changed(reflect.ValueOf(old).Elem(), reflect.ValueOf(now).Elem(), "", false, func(path string, atOnce bool) {
		if atOnce {
			reload = append(reload, path)
		} else {
			restart = append(restart, path)
		}
	})
	return reload, restart
}

func changed(a, b reflect.Value, path string, atOnce bool, differ func(string, bool)) {
	switch {
	case a.Kind() == reflect.Struct:
		for i := range a.NumField() {
			f := a.Type().Field(i)
			if key := keyOf(f); key != "" {
				changed(a.Field(i), b.Field(i), join(path, key), f.Tag.Get("reload") != "", differ)
			}
		}
	case a.Kind() == reflect.Slice && a.Len() == b.Len() && !atOnce:
		for i := range a.Len() {
			changed(a.Index(i), b.Index(i), join(path, strconv.Itoa(i)), atOnce, differ)
		}
	case !reflect.DeepEqual(a.Interface(), b.Interface()):
		differ(path, atOnce)
	}
}

// join makes the path of what stands below another.
func join(path, key string) string {
	switch {
	case path == "":
		return key
	case key == "":
		return path
	}
	return path + "." + key
}

// keyOf is the name of a field in the file, "" if it has none.
func keyOf(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	if name == "-" {
		return ""
	}
	return name
}

func fieldOf(v reflect.Value, key string) (reflect.Value, bool) {
	for i := range v.NumField() {
		if name := keyOf(v.Type().Field(i)); name == key && name != "" {
			return v.Field(i), true
		}
	}
	return reflect.Value{}, false
}

func isScalar(t reflect.Type) bool { return t.Kind() != reflect.Struct && t.Kind() != reflect.Slice }
