package definition

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/descriptor"
)

// maxRequired is the most required fields of a source: decoders mark them in a word.
const maxRequired = 60

func (c *checker) source(def *sourceDef) {
	ok := c.sourceNames.define(c.report, "source", def.Name)
	if def.Name.value == featurestore.ServedSource {
		c.addf(def.Name.place, "source %q is the serving log, which is there of itself where anything says \"log\": choose another name", def.Name.value)
		ok = false
	}
	source := featurestore.Source{
		Name: def.Name.value, Topic: def.Topic.value, Format: def.Format.value, Message: def.Message.value,
		TimeField: def.EventTime.Field.value, TimePath: def.EventTime.Path.value, TimeRecord: def.EventTime.Record.value,
		TimeUnit: featurestore.TimeUnit(def.EventTime.Unit.value), Explode: def.Explode.value, Deletes: def.Tombstone.given(),
		MaxAge: featurestore.DefaultMaxAge, MaxSkew: featurestore.DefaultMaxSkew,
	}
	ok = c.batch(def, &source) && ok
	if !def.Topic.given() {
		source.Topic = c.catalog.Namespace + "." + source.Name
	}
	if def.MaxAge.given() {
		source.MaxAge = def.MaxAge.value
	}
	if def.MaxSkew.given() {
		source.MaxSkew = def.MaxSkew.value
	}
	source.Retention = def.Retention.value
	ok = c.eventTime(def) && ok
	ok = c.fields(def, &source) && ok
	if def.broken {
		return
	}
	ok = c.paths(def, &source) && ok
	if !ok || !c.message(def, &source) {
		return
	}
	for i := range c.catalog.Sources {
		if other := &c.catalog.Sources[i]; other.Topic == source.Topic {
			c.addf(firstGiven(def.Topic.place, def.Name.place), "topic %q is already read by source %q; add the fields there, or use a topic of its own", source.Topic, other.Name)
			return
		}
	}
	c.catalog.Sources = append(c.catalog.Sources, source)
}

func (c *checker) eventTime(def *sourceDef) bool {
	t := &def.EventTime
	if def.broken || !t.given() {
		return false
	}
	given := 0
	for _, is := range []bool{t.Field.given(), t.Path.given(), t.Record.value} {
		if is {
			given++
		}
	}
	switch {
	case given != 1:
		c.addf(t.place, "the event time needs exactly one of \"field: NAME\", \"path: A.B\" and \"record: true\"; there are %d", given)
	case t.Record.value && t.Unit.given():
		c.addf(t.Unit.place, "the record's timestamp has no unit: remove it")
	case !t.Record.value && !t.Unit.given() && def.Format.value == featurestore.JSON && !def.Batch.given():
		c.addf(t.place, `"unit" is missing: us, ms and s are numbers since 1970 in UTC, rfc3339 is text`)
	default:
		return true
	}
	return false
}

func (c *checker) fields(def *sourceDef, source *featurestore.Source) bool {
	ok, required, seen := true, 0, names{}
	for i := range def.Fields {
		f := &def.Fields[i]
		ok = seen.define(c.report, "field", f.Name) && ok
		if f.Required.value {
			required++
		}
		typ, _ := featurestore.ParseType(f.Type.value)
		field := featurestore.Field{
			Name: f.Name.value, Type: typ, Path: f.Path.value, Key: f.Key.value, Header: f.Header.value, Required: f.Required.value,
		}
		ok = c.fieldPlace(f, &field) && c.fieldBounds(f, &field) && c.fieldDefault(f, &field) && ok
		source.Fields = append(source.Fields, field)
	}
	if required > maxRequired {
		c.addf(def.Name.place, "source %q has %d required fields; at most %d are allowed", source.Name, required, maxRequired)
		ok = false
	}
	return ok
}

// fieldPlace checks where a field is said to be.
func (c *checker) fieldPlace(def *fieldDef, field *featurestore.Field) bool {
	var given []string
	for name, is := range map[string]bool{"path": def.Path.given(), "key": def.Key.value, "header": def.Header.given()} {
		if is {
			given = append(given, `"`+name+`"`)
		}
	}
	slices.Sort(given)
	switch {
	case len(given) > 1:
		c.addf(def.Name.place, "field %q has %s; a value has one place", field.Name, joinAnd(given))
	case field.Key && field.Type != 0 && !slices.Contains(choices["keys"], field.Type.String()):
		c.addf(def.Type.place, "field %q is the record's key and %s; it can be %s", field.Name, field.Type, joinAnd(choices["keys"]))
	case field.Header != "" && field.Type.IsList():
		c.addf(def.Type.place, "field %q is in a header and %s; a header holds no list", field.Name, field.Type)
	default:
		return true
	}
	return false
}

// fieldBounds checks how long the values of a field may be.
func (c *checker) fieldBounds(def *fieldDef, field *featurestore.Field) bool {
	if field.Type == 0 {
		return true // the type is wrong, which is reported
	}
	switch text := field.Type.Elem(); {
	case def.MaxBytes.given() && text != featurestore.String && text != featurestore.Bytes:
		c.addf(def.MaxBytes.place, "field %q is %s; max_bytes is for text", field.Name, field.Type)
		return false
	case def.MaxElements.given() && !field.Type.IsList():
		c.addf(def.MaxElements.place, "field %q is %s; max_elements is for lists", field.Name, field.Type)
		return false
	}
	field.MaxBytes, field.MaxElements = def.MaxBytes.value, def.MaxElements.value
	return true
}

func (c *checker) fieldDefault(def *fieldDef, field *featurestore.Field) bool {
	if !def.Default.given() {
		return true
	}
	if def.Required.value {
		c.addf(def.Default.place, "field %q is required and has a default: remove one of them", field.Name)
		return false
	}
	if field.Type == 0 {
		return false // the type is wrong, which is reported
	}
	value, err := def.Default.as(field.Type)
	if err != nil {
		c.addf(def.Default.place, "the default of field %q %s", field.Name, err)
		return false
	}
	field.Default = &value
	return true
}

// paths refuses two paths of which one leads through the value of the other.
func (c *checker) paths(def *sourceDef, source *featurestore.Source) bool {
	values := map[string]string{} // what is read at a path
	if steps := source.TimeSteps(); steps != nil {
		values[source.TimeName()] = "the event time"
	}
	ok := true
	for i := range source.Fields {
		f := &source.Fields[i]
		steps := f.Steps()
		if steps == nil {
			continue
		}
		path := strings.Join(steps, ".")
		if source.TimeSteps() != nil && path == source.TimeName() {
			c.addf(def.Fields[i].Name.place, "field %q is the event time, which every event has: remove it from the fields", f.Name)
			ok = false
			continue
		}
		if values[path] == "" {
			values[path] = "field \"" + f.Name + "\""
		}
	}
	for i := range source.Fields {
		if steps := source.Fields[i].Steps(); steps != nil {
			ok = c.through(firstGiven(def.Fields[i].Path.place, def.Fields[i].Name.place), steps, values) && ok
		}
	}
	if source.Explode != "" {
		ok = c.through(def.Explode.place, strings.Split(source.Explode, "."), values) && ok
	}
	return c.through(firstGiven(def.EventTime.Path.place, def.EventTime.Field.place), source.TimeSteps(), values) && ok
}

func (c *checker) through(at place, steps []string, values map[string]string) bool {
	for n := 1; n < len(steps); n++ {
		if what := values[strings.Join(steps[:n], ".")]; what != "" {
			c.addf(at, "the path %s leads through %s, which is a value", strings.Join(steps, "."), what)
			return false
		}
	}
	return true
}

// message checks what only protobuf has, and reads the descriptor set.
func (c *checker) message(def *sourceDef, source *featurestore.Source) bool {
	isProtobuf := source.Format == featurestore.Protobuf
	switch {
	case !isProtobuf && def.Message.given():
		c.addf(def.Message.place, "only protobuf records hold a message: remove it, or write \"format: protobuf\"")
		return false
	case !isProtobuf && def.Descriptors.given():
		c.addf(def.Descriptors.place, "only protobuf records need a descriptor set: remove it, or write \"format: protobuf\"")
		return false
	case isProtobuf && !def.Message.given():
		c.addf(def.Name.place, "source %q is protobuf and must say which message its records hold: add, for example, \"message: shop.v1.Order\"", source.Name)
		return false
	case !def.Descriptors.given():
		return true
	case !filepath.IsLocal(def.Descriptors.value):
		c.addf(def.Descriptors.place, "descriptor set %q must be beside this file or below: give a relative path without ..", def.Descriptors.value)
		return false
	}
	set, err := readFile(filepath.Join(filepath.Dir(def.Descriptors.file), def.Descriptors.value))
	switch {
	case err != nil:
		c.addf(def.Descriptors.place, "the descriptor set cannot be read: %v", err)
		return false
	case len(set) > maxFileBytes:
		c.addf(def.Descriptors.place, "the descriptor set has more than %d bytes: leave out what the message does not import, and source info", maxFileBytes)
		return false
	}
	message, err := descriptor.Parse(set, source.Message)
	if err != nil {
		c.addf(def.Descriptors.place, "descriptor set %q: %v", def.Descriptors.value, err)
		return false
	}
	source.DescriptorSet = set
	return c.messageFields(def, source, message)
}

// messageFields checks that the message has every field, of a type that fits.
func (c *checker) messageFields(def *sourceDef, source *featurestore.Source, message descriptor.Message) bool {
	ok := true
	for i := range source.Fields {
		if err := descriptor.CheckField(message, source, &source.Fields[i]); err != nil {
			c.addf(firstGiven(def.Fields[i].Path.place, def.Fields[i].Name.place), "field %q: %v", source.Fields[i].Name, err)
			ok = false
		}
	}
	if err := descriptor.CheckExplode(message, source); err != nil {
		c.addf(def.Explode.place, "%v", err)
		ok = false
	}
	if err := descriptor.CheckTime(message, source); err != nil {
		c.addf(def.EventTime.place, "the event time: %v", err)
		ok = false
	}
	return ok
}

// tombstones refuses to delete what a record's key does not name: only then are all
// records of an entity in one partition, where a tombstone has its place among them.
func (c *checker) tombstones() {
	for i := range c.catalog.Views {
		view := &c.catalog.Views[i]
		source := c.catalog.Source(view.Source)
		if !source.Deletes {
			continue
		}
		for _, name := range view.JoinFields {
			if source.Fields[source.Field(name)].Key {
				continue
			}
			c.addf(c.tombstonePlace(source.Name), "\"tombstone: delete\" needs every join field of every view of source %q to be the record's key, "+
				"so that all records of an entity are in one partition, in order; field %q of feature view %q is not: "+
				"add \"key: true\" to it, or remove the tombstone", source.Name, name, view.Name)
		}
	}
}

func (c *checker) tombstonePlace(source string) place {
	if def := c.sourceDef(source); def != nil {
		return def.Tombstone.place
	}
	return place{}
}

// sourceDef is the definition of a source, nil if there is none.
func (c *checker) sourceDef(name string) *sourceDef {
	for i := range c.sources {
		if c.sources[i].Name.value == name {
			return &c.sources[i]
		}
	}
	return nil
}
