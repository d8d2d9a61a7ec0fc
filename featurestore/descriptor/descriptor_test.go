package descriptor

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/onehop/onehop/featurestore"
)

// set is a descriptor set with one message; Timestamp is in a file of its own.
func set(t *testing.T, withTimestamp bool) []byte {
	t.Helper()
	text := `file { name: "o.proto" package: "shop" syntax: "proto3" dependency: "t.proto"
		message_type { name: "Order"
			field { name: "buyer" number: 1 type: TYPE_INT64 label: LABEL_OPTIONAL }
			field { name: "at" number: 2 type: TYPE_MESSAGE type_name: ".google.protobuf.Timestamp" label: LABEL_OPTIONAL }
			field { name: "items" number: 3 type: TYPE_MESSAGE type_name: ".shop.Order" label: LABEL_REPEATED }
			field { name: "tags" number: 4 type: TYPE_STRING label: LABEL_REPEATED }
			field { name: "text" number: 5 type: TYPE_STRING label: LABEL_OPTIONAL }
			field { name: "weight" number: 6 type: TYPE_FLOAT label: LABEL_OPTIONAL }
			field { name: "notes" number: 7 type: TYPE_MESSAGE type_name: ".shop.Order.NotesEntry" label: LABEL_REPEATED }
			nested_type { name: "NotesEntry" options { map_entry: true }
				field { name: "key" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
				field { name: "value" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL } } }
		enum_type { name: "State" value { name: "NONE" number: 0 } } }`
	if withTimestamp {
		text = `file { name: "t.proto" package: "google.protobuf" syntax: "proto3" message_type { name: "Timestamp"
			field { name: "seconds" number: 1 type: TYPE_INT64 label: LABEL_OPTIONAL } } }` + text
	}
	var files descriptorpb.FileDescriptorSet
	if err := prototext.Unmarshal([]byte(text), &files); err != nil {
		t.Fatal(err)
	}
	raw, err := proto.Marshal(&files)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		set           []byte
		message, want string
	}{
		{set(t, true), "shop.Order", ""},
		{set(t, false), "shop.Order", "it is not complete"},
		{set(t, true), "shop.Ordr", `it has no message "shop.Ordr"`},
		{set(t, true), "shop.State", `"shop.State" in it is no message`},
		{[]byte("syntax = \"proto3\";"), "shop.Order", "it is not a FileDescriptorSet"},
	} {
		m, err := Parse(c.set, c.message)
		if c.want == "" && (err != nil || string(m.FullName()) != c.message) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, %v; want %q", c.message, m, err, c.want)
		}
	}
}

func TestChecks(t *testing.T) {
	m, err := Parse(set(t, true), "shop.Order")
	if err != nil {
		t.Fatal(err)
	}
	list := featurestore.ListOf(featurestore.String)
	for _, c := range []struct {
		path, explode string
		typ           featurestore.Type
		want          string
	}{
		{"buyer", "", featurestore.Int64, ""},
		{"buyer", "", featurestore.Float64, ""},
		{"weight", "", featurestore.Int64, "shop.Order.weight is float; int64 is needed"},
		{"tags", "", list, ""},
		{"tags", "tags", featurestore.String, ""},
		{"tags", "", featurestore.String, "is a list of string; string is needed"},
		{"text", "", list, "is string; list<string> is needed"},
		{"at.seconds", "", featurestore.Int64, ""},
		{"at", "", featurestore.Int64, "is message google.protobuf.Timestamp; int64 is needed"},
		{"at.x", "", featurestore.Int64, `message google.protobuf.Timestamp has no field "x"`},
		{"text.x", "", featurestore.Int64, "shop.Order.text is string: it has no fields"},
		{"items.buyer", "items", featurestore.Int64, ""},
		{"items.buyer", "", featurestore.Int64, "shop.Order.items is repeated: only the path to explode"},
		{"items.items.buyer", "items", featurestore.Int64, "only the path to explode"},
		{"notes", "", list, "is a map"},
		{"buyer", "text", featurestore.Int64, "shop.Order.text is not repeated"},
	} {
		source := &featurestore.Source{Explode: c.explode}
		err := CheckField(m, source, &featurestore.Field{Name: "f", Path: c.path, Type: c.typ})
		if err == nil {
			err = CheckExplode(m, source)
		}
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s as %s, exploding %q: %v, want %q", c.path, c.typ, c.explode, err, c.want)
		}
	}
	if err := CheckField(m, &featurestore.Source{}, &featurestore.Field{Name: "nowhere", Key: true}); err != nil {
		t.Errorf("a field in the record's key: %v", err)
	}
}

func TestCheckTime(t *testing.T) {
	m, err := Parse(set(t, true), "shop.Order")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path string
		unit featurestore.TimeUnit
		want string
	}{
		{"at", "", ""},
		{"buyer", featurestore.Milliseconds, ""},
		{"text", featurestore.RFC3339, ""},
		{"buyer", "", "does not say its unit"},
		{"text", "", "does not say its unit"},
		{"text", featurestore.Milliseconds, "a google.protobuf.Timestamp is needed"},
		{"weight", featurestore.Milliseconds, "a google.protobuf.Timestamp is needed"},
		{"tags", "", "is repeated"},
		{"x", "", "has no field"},
	} {
		err := CheckTime(m, &featurestore.Source{TimePath: c.path, TimeUnit: c.unit})
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s in %q: %v, want %q", c.path, c.unit, err, c.want)
		}
	}
	if err := CheckTime(m, &featurestore.Source{TimeRecord: true}); err != nil {
		t.Errorf("the record's timestamp: %v", err)
	}
}
