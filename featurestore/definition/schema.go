package definition

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
)

// schema is as much of JSON Schema (draft 2020-12) as definitions need.
type schema struct {
	Dialect     string             `json:"$schema,omitempty"`
	Ref         string             `json:"$ref,omitempty"`
	Title       string             `json:"title,omitempty"`
	Description string             `json:"description,omitempty"`
	Type        string             `json:"type,omitempty"`
	AnyOf       []*schema          `json:"anyOf,omitempty"`
	Const       string             `json:"const,omitempty"`
	Enum        []string           `json:"enum,omitempty"`
	Pattern     string             `json:"pattern,omitempty"`
	Minimum     *int               `json:"minimum,omitempty"`
	Maximum     *int               `json:"maximum,omitempty"`
	Above       *int               `json:"exclusiveMinimum,omitempty"`
	Below       *int               `json:"exclusiveMaximum,omitempty"`
	MinItems    int                `json:"minItems,omitempty"`
	MaxItems    int                `json:"maxItems,omitempty"`
	Items       *schema            `json:"items,omitempty"`
	Properties  map[string]*schema `json:"properties,omitempty"`
	Required    []string           `json:"required,omitempty"`
	// Additional is false or a schema.
	Additional any                `json:"additionalProperties,omitempty"`
	Default    any                `json:"default,omitempty"`
	Examples   []string           `json:"examples,omitempty"`
	Defs       map[string]*schema `json:"$defs,omitempty"`
}

// Schema is the JSON Schema of definition files, for editors: indented, with a
// newline at its end. What is reserved and not built yet is not in it.
func Schema() []byte {
	defs := map[string]*schema{}
	root := objectSchema(reflect.TypeFor[document](), defs)
	root.Dialect = "https://json-schema.org/draft/2020-12/schema"
	root.Title = "Onehop definitions"
	root.Defs = defs
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(root); err != nil { // strings and numbers always encode
		panic(err)
	}
	return []byte(b.String())
}

// schemaOf is the schema of a key, by the type of its field and its rule.
func schemaOf(t reflect.Type, r *rule, defs map[string]*schema) *schema {
	var s *schema
	switch value := reflect.New(t).Interface().(type) {
	case scalar:
		s = value.schema(r)
	default:
		if t.Kind() == reflect.Slice {
			s = &schema{Type: "array", Items: schemaOf(t.Elem(), &rule{form: r.form, choice: r.choice, examples: r.examples}, defs)}
			s.MaxItems, _ = strconv.Atoi(r.max)
			if r.required {
				s.MinItems = 1
			}
			break
		}
		name := strings.TrimSuffix(t.Name(), "Def")
		if defs[name] == nil {
			defs[name] = &schema{} // ends a recursion
			*defs[name] = *objectSchema(t, defs)
		}
		s = &schema{Ref: "#/$defs/" + name}
	}
	if s.Items == nil {
		s.Examples = r.examples
	}
	s.Description = r.doc
	if r.fallback != "" {
		s.Default = r.fallback
		if s.Type == "boolean" {
			s.Default = r.fallback == "true"
		}
	}
	return s
}

func objectSchema(t reflect.Type, defs map[string]*schema) *schema {
	self, rules := rulesOf(t)
	s := &schema{Type: "object", Properties: map[string]*schema{}, Additional: false}
	var short *schema
	for i := range rules {
		r := &rules[i]
		property := schemaOf(t.Field(r.index).Type, r, defs)
		s.Properties[r.key] = property
		if r.required {
			s.Required = append(s.Required, r.key)
		}
		if r.key == self.shorthand {
			short = property
		}
	}
	if short != nil {
		s = &schema{AnyOf: []*schema{short, s}}
	}
	s.Description = self.doc
	return s
}

func (t *text) schema(r *rule) *schema {
	s := &schema{Type: "string"}
	if r.form != nil {
		s.Pattern = r.form.pattern
	}
	if r.choice != nil {
		s.Enum = r.choice
	}
	return s
}

func (i *integer) schema(r *rule) *schema {
	s := &schema{Type: "integer"}
	if least, err := strconv.Atoi(r.min); err == nil {
		s.Minimum = &least
	}
	if most, err := strconv.Atoi(r.max); err == nil {
		s.Maximum = &most
	}
	return s
}

func (v *number) schema(r *rule) *schema {
	s := &schema{Type: "number"}
	if least, err := strconv.Atoi(r.min); err == nil {
		s.Above = &least
	}
	if most, err := strconv.Atoi(r.max); err == nil {
		s.Below = &most
	}
	return s
}

func (s *share) schema(*rule) *schema {
	none, all := 0, 1
	return &schema{Type: "number", Above: &none, Maximum: &all}
}

func (b *boolean) schema(*rule) *schema { return &schema{Type: "boolean"} }

func (v *duration) schema(*rule) *schema {
	return &schema{Type: "string", Pattern: durationPattern}
}

func (w *windowLength) schema(*rule) *schema {
	return &schema{AnyOf: []*schema{{Type: "string", Pattern: durationPattern}, {Const: lifetime}}}
}

func (p *pairs) schema(*rule) *schema {
	return &schema{Type: "object", Additional: &schema{Type: "string", Pattern: forms["field"].pattern}}
}
