package stream

import (
	"strings"

	"github.com/twmb/avro"
)

// parseAvro parses a schema after those that it refers to.
func parseAvro(text string, references []reference) (*avro.Schema, error) {
	var cache avro.SchemaCache
	named := namedTypes{}
	for _, r := range references {
		parsed, err := cache.Parse(r.text, avroOptions...)
		if err != nil {
			return nil, unusable("refers to %q, which cannot be parsed: %v", r.name, err)
		}
		named.collect(parsed.Root())
	}
	parsed, err := cache.Parse(text, avroOptions...)
	if err != nil {
		return nil, unusable("cannot be parsed: %v", err)
	}
	named.collect(parsed.Root())
	if named.bomb(parsed.Root(), map[string]bool{}) {
		return nil, unusable("has an array of items that take no bytes: a few bytes could be any number of them")
	}
	return parsed, nil
}

// namedTypes are the records, enums and fixed types of schemas by their full names.
type namedTypes map[string]*avro.SchemaNode

func (t namedTypes) collect(n *avro.SchemaNode) {
	if name := fullName(n); name != "" {
		t[name] = n
	}
	for _, child := range children(n) {
		t.collect(child)
	}
}

func fullName(n *avro.SchemaNode) string {
	if n.Name == "" || n.Namespace == "" || strings.Contains(n.Name, ".") {
		return n.Name
	}
	return n.Namespace + "." + n.Name
}

func children(n *avro.SchemaNode) (list []*avro.SchemaNode) {
	for i := range n.Fields {
		list = append(list, &n.Fields[i].Type)
	}
	for i := range n.Branches {
		list = append(list, &n.Branches[i])
	}
	for _, one := range []*avro.SchemaNode{n.Items, n.Values} {
		if one != nil {
			list = append(list, one)
		}
	}
	return list
}

// bomb says whether there is an array, here or below, whose items take no bytes: by
// arrays of those a short record could fill any memory. seen are the names that were
// looked at.
func (t namedTypes) bomb(n *avro.SchemaNode, seen map[string]bool) bool {
	if definition, ok := t[n.Type]; ok {
		if seen[n.Type] {
			return false
		}
		seen[n.Type] = true
		return t.bomb(definition, seen)
	}
	if n.Items != nil && t.empty(n.Items, map[string]bool{}) {
		return true
	}
	for _, child := range children(n) {
		if t.bomb(child, seen) {
			return true
		}
	}
	return false
}

// empty says whether a value of a type takes no bytes. known are the answers for names;
// those that are still looked for take none, or they would have no end.
func (t namedTypes) empty(n *avro.SchemaNode, known map[string]bool) bool {
	if definition, ok := t[n.Type]; ok {
		if answer, ok := known[n.Type]; ok {
			return answer
		}
		known[n.Type] = true
		known[n.Type] = t.empty(definition, known)
		return known[n.Type]
	}
	switch n.Type {
	case "null":
		return true
	case "fixed":
		return n.Size == 0
	case "record", "error":
		for i := range n.Fields {
			if !t.empty(&n.Fields[i].Type, known) {
				return false
			}
		}
		return true
	}
	return false
}
