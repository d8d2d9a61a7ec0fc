package definition

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/fold"
)

// rule is the tag of a field of one of the types, read.
type rule struct {
	key           string
	required      bool
	doc, fallback string
	form          *form
	choice        []string // nil for any text
	min, max      string
	examples      []string
	shorthand     string // of a mapping
	index         int
}

// form is what a text must look like.
type form struct {
	pattern string
	want    string
	match   *regexp.Regexp
}

func newForm(pattern, want string) *form {
	return &form{pattern: pattern, want: want, match: regexp.MustCompile(pattern)}
}

func nameForm(length int) *form {
	return newForm(fmt.Sprintf(`^[a-z][a-z0-9_]{0,%d}$`, length-1),
		fmt.Sprintf("a name: a lower-case letter, then up to %d lower-case letters, digits and underscores", length-1))
}

var forms = map[string]*form{
	"namespace": nameForm(31),
	"name":      nameForm(63),
	"short":     nameForm(40), // names of tables and keys are longer by what is appended
	"field":     nameForm(61), // a column in Postgres is called f_ and the field's name
	"topic":     newForm(`^[A-Za-z0-9._-]{1,249}$`, "a Kafka topic: up to 249 letters, digits, dots, underscores and hyphens"),
	"member":    newForm(`^[^\x00-\x1f"\\]{1,255}$`, "the name of a field: up to 255 characters, no quotes and no backslashes"),
	"path":      newForm(`^[^\x00-\x1f"\\.]+(\.[^\x00-\x1f"\\.]+){0,15}$`, "a path: up to 16 names with dots between them"),
	"message":   newForm(`^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*){0,31}$`, "the full name of a message, such as shop.v1.Order"),
	"file":      newForm(`^[^\x00-\x1f"\\]{1,255}$`, "the name of a file: up to 255 characters"),
	"table":     newForm(`^[^\x00-\x1f".]{1,63}(\.[^\x00-\x1f".]{1,63})?$`, "a table: its name, or schema.name, without quotes"),
	"reference": newForm(`^[a-z][a-z0-9_]{0,62}\.([a-z][a-z0-9_]{0,126}|\*)$`, "a feature: view.column, or view.* for all of a view"),
}

// choices are lists of the texts that are allowed.
var choices = map[string][]string{
	"types":      featurestore.TypeNames(),
	"keys":       {"int64", "string", "bytes"},
	"request":    {"int64", "float64", "string", "bool"},
	"results":    {"int64", "float64", "string", "bool", "list<int64>", "list<float64>", "list<string>", "list<bool>"},
	"formats":    {featurestore.JSON, featurestore.Avro, featurestore.Protobuf},
	"tombstones": {"delete"},
	"variances":  {featurestore.Sample, featurestore.Population},
	"units":      {"us", "ms", "s", "rfc3339"},
	"aggregates": fold.Aggregates(),
}

var mappingType = reflect.TypeFor[mapping]()

// rulesOf reads the tags of a struct type: the rule of the mapping itself and those
// of its keys in order. The types are part of the program, so what is wrong with a
// tag is a panic that any test meets.
func rulesOf(t reflect.Type) (self rule, keys []rule) {
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag
		r := rule{index: i, doc: tag.Get("doc"), fallback: tag.Get("default"), min: tag.Get("min"), max: tag.Get("max")}
		if eg := tag.Get("eg"); eg != "" {
			r.examples = strings.Split(eg, "|")
		}
		if f.Type == mappingType {
			r.shorthand = tag.Get("short")
			self = r
			continue
		}
		var option string
		r.key, option, _ = strings.Cut(tag.Get("yaml"), ",")
		r.required = option == "required"
		r.form, r.choice = forms[tag.Get("form")], choices[tag.Get("one")]
		if r.key == "" || r.form == nil && tag.Get("form") != "" || r.choice == nil && tag.Get("one") != "" {
			panic(fmt.Sprintf("the tag of %s.%s is wrong: %s", t, f.Name, tag))
		}
		keys = append(keys, r)
	}
	return self, keys
}
