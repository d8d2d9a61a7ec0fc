package definition

import (
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// mapping is embedded in every type that is a YAML mapping.
type mapping struct {
	place
	// broken says that something inside is wrong and has been reported.
	broken bool
}

func (m *mapping) self() *mapping { return m }

// decoder turns the syntax tree of one file into the types of this package. It
// reports everything that is wrong and goes on.
type decoder struct {
	*report
	file string
}

func (d *decoder) at(n ast.Node) place { return nodePlace(d.file, n) }

// decode fills target, which is a scalar, a slice or a struct with a mapping in it,
// from a node.
func (d *decoder) decode(target reflect.Value, n ast.Node, r *rule) {
	n, ok := d.plain(n, r.key)
	if !ok {
		return
	}
	if s, ok := target.Addr().Interface().(scalar); ok {
		s.decode(d, n, r)
		return
	}
	if target.Kind() == reflect.Slice {
		d.list(target, n, r)
		return
	}
	d.mapping(target, n)
}

// plain refuses what makes YAML more than a tree of values, and missing values. It
// returns what an anchor or a tag is on, so that mistakes in there are found too.
func (d *decoder) plain(n ast.Node, key string) (ast.Node, bool) {
	for {
		switch wrapped := n.(type) {
		case *ast.AnchorNode:
			d.addf(d.at(n), noAliases)
			n = wrapped.Value
		case *ast.TagNode:
			d.addf(d.at(n), "tags such as %s are not supported: remove it", wrapped.Start.Value)
			n = wrapped.Value
		case *ast.AliasNode, *ast.MergeKeyNode:
			d.addf(d.at(n), noAliases)
			return nil, false
		case *ast.NullNode:
			d.addf(d.at(n), "%q has no value: give it one or remove it", key)
			return nil, false
		default:
			return n, n != nil
		}
	}
}

const noAliases = "anchors, aliases and merge keys are not supported: write it out"

func (d *decoder) list(target reflect.Value, n ast.Node, r *rule) {
	sequence, ok := n.(*ast.SequenceNode)
	if !ok {
		d.addf(d.at(n), "%q must be a list, not %s", r.key, kindOf(n))
		return
	}
	if r.required && len(sequence.Values) == 0 {
		d.addf(d.at(n), "%q must have at least one entry", r.key)
	}
	if most, err := strconv.Atoi(r.max); err == nil && len(sequence.Values) > most {
		d.addf(d.at(n), "%q has %d entries; at most %d are allowed", r.key, len(sequence.Values), most)
	}
	list := reflect.MakeSlice(target.Type(), len(sequence.Values), len(sequence.Values))
	for i, entry := range sequence.Values {
		element := list.Index(i)
		before := len(d.mistakes)
		d.decode(element, entry, &rule{key: r.key, form: r.form, choice: r.choice})
		if m, ok := element.Addr().Interface().(interface{ self() *mapping }); ok {
			m.self().broken = len(d.mistakes) > before
		}
	}
	target.Set(list)
}

func (d *decoder) mapping(target reflect.Value, n ast.Node) {
	self, rules := rulesOf(target.Type())
	target.Addr().Interface().(interface{ self() *mapping }).self().place = d.at(n)
	node, ok := n.(ast.MapNode)
	if !ok {
		if self.shorthand == "" || n.Type() == ast.SequenceType {
			d.addf(d.at(n), "want a mapping with %s, not %s", keyList(rules), kindOf(n))
			return
		}
		i := slices.IndexFunc(rules, func(r rule) bool { return r.key == self.shorthand })
		d.decode(target.Field(rules[i].index), n, &rules[i])
		return
	}
	seen := map[string]place{}
	for pairs := node.MapRange(); pairs.Next(); {
		name, at, ok := d.key(pairs.Key(), seen)
		if !ok {
			continue
		}
		i := slices.IndexFunc(rules, func(r rule) bool { return r.key == name })
		switch {
		case i >= 0:
			d.decode(target.Field(rules[i].index), pairs.Value(), &rules[i])
		case pairs.Value().Type() == ast.NullType && strings.Contains(name, " "):
			d.addf(at, "unknown key %q; text with a comma needs quotes inside { }", name)
		default:
			d.addf(at, "unknown key %q%s", name, hint(name, keysOf(rules)))
		}
	}
	for _, r := range rules {
		if _, there := seen[r.key]; r.required && !there {
			d.addf(d.at(n), "%q is missing: %s", r.key, r.doc)
		}
	}
}

// key reads a mapping's key and reports one that is no text or that was seen before.
func (d *decoder) key(n ast.MapKeyNode, seen map[string]place) (name string, at place, ok bool) {
	at = d.at(n)
	switch n := n.(type) {
	case *ast.StringNode:
		name = n.Value
	case *ast.MergeKeyNode:
		d.plain(n, "")
		return "", at, false
	default:
		d.addf(at, "a key must be plain text")
		return "", at, false
	}
	if first, twice := seen[name]; twice {
		d.addf(at, "key %q appears twice; it is also at line %d", name, first.line)
		return "", at, false
	}
	seen[name] = at
	return name, at, true
}

func keysOf(rules []rule) []string {
	keys := make([]string, len(rules))
	for i, r := range rules {
		keys[i] = r.key
	}
	return keys
}

// keyList names the required keys, or all when none is.
func keyList(rules []rule) string {
	var required []string
	for _, r := range rules {
		if r.required {
			required = append(required, r.key)
		}
	}
	if required == nil {
		required = keysOf(rules)
	}
	return joinAnd(required)
}
