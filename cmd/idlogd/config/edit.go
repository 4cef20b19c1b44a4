package config

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"go.yaml.in/yaml/v3"
)

// WithLogKeys returns the text of a configuration file in which the log of a
// family has these key files, and all else is as it was, comments too. The names
// are taken relative to the file where they lie below it. The result is judged as
// Read would.
func WithLogKeys(file, family string, keys []string) ([]byte, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	var root yaml.Node
	if err := yaml.Unmarshal(b, &root); err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	list := keyList(&root, family)
	if list == nil {
		return nil, fmt.Errorf("editing %s: it has no logs with family %q and keys.log", file, family)
	}
	dir, err := filepath.Abs(filepath.Dir(file))
	if err != nil {
		return nil, fmt.Errorf("editing %s: %w", file, err)
	}
	var kept []*yaml.Node
	for _, key := range keys {
		if key, err = filepath.Abs(key); err != nil {
			return nil, fmt.Errorf("editing %s: %w", file, err)
		}
		at := slices.IndexFunc(list.Content, func(n *yaml.Node) bool { return absolute(dir, n.Value) == key })
		if at >= 0 {
			kept = append(kept, list.Content[at])
			continue
		}
		if rel, err := filepath.Rel(dir, key); err == nil && filepath.IsLocal(rel) {
			key = rel
		}
		kept = append(kept, &yaml.Node{Kind: yaml.ScalarNode, Value: key})
	}
	list.Content = kept
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	if err := enc.Encode(&root); err != nil {
		return nil, fmt.Errorf("editing %s: %w", file, err)
	}
	if _, err := Parse(file, out.Bytes()); err != nil {
		return nil, fmt.Errorf("editing %s: %w", file, err)
	}
	return out.Bytes(), nil
}

// keyList finds logs[family].keys.log in a file, nil if it is not there.
func keyList(root *yaml.Node, family string) *yaml.Node {
	if root.Kind != yaml.DocumentNode || len(root.Content) == 0 {
		return nil
	}
	logs := child(root.Content[0], "logs")
	if logs == nil || logs.Kind != yaml.SequenceNode {
		return nil
	}
	for _, l := range logs.Content {
		if f := child(l, "family"); f == nil || f.Value != family {
			continue
		}
		if keys := child(l, "keys"); keys != nil {
			if list := child(keys, "log"); list != nil && list.Kind == yaml.SequenceNode {
				return list
			}
		}
	}
	return nil
}

// child returns the value of a key of a mapping, nil if there is none.
func child(n *yaml.Node, key string) *yaml.Node {
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}
