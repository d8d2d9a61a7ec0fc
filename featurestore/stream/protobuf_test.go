package stream

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/bufbuild/protocompile/protoutil"
	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/onehop/onehop/featurestore"
)

const (
	protoMoney = `syntax = "proto3"; package shop; message Money { int64 cents = 1; }`
	protoOrder = `syntax = "proto3"; package shop;
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
import "shop/money.proto";
message Other { int64 buyer = 1; }
message Order {
  enum State { UNKNOWN = 0; PAID = 1; }
  message Item { string sku = 1; double weight = 2; }
  int64 buyer = 1;
  google.protobuf.Timestamp at = 2;
  State state = 3;
  optional double amount = 4;
  uint32 count = 5;
  bool paid = 6;
  bytes raw = 7;
  repeated string tags = 8;
  repeated Item items = 9;
  Money price = 10;
  uint64 big = 11;
  map<string, string> notes = 12;
  google.protobuf.StringValue city = 13;
  int64 at_ms = 14;
  repeated int64 ids = 15;
  oneof how { string card = 16; string cash = 17; }
}`
	protoJSON = `{"buyer":"42","at":"2023-11-14T22:13:20.000005Z","state":"PAID","amount":2.5,"count":3,"paid":true,"raw":"AAE=",
		"tags":["a","b"],"items":[{"sku":"tea","weight":0.5},{"sku":"cup"}],"price":{"cents":"250"},"big":"7","city":"Ulm","atMs":"1700000000001","ids":["5","6"],"card":"visa"}`
)

func protobufSource() *featurestore.Source {
	return &featurestore.Source{
		Name: "orders", Format: featurestore.Protobuf, Message: "shop.Order", TimeField: "at", MaxAge: time.Hour, MaxSkew: time.Minute,
		Fields: []featurestore.Field{
			{Name: "buyer", Type: featurestore.Int64, Required: true},
			{Name: "state", Type: featurestore.String},
			{Name: "amount", Type: featurestore.Float64},
			{Name: "count", Type: featurestore.Int64},
			{Name: "paid", Type: featurestore.Bool},
			{Name: "raw", Type: featurestore.Bytes},
			{Name: "tags", Type: featurestore.ListOf(featurestore.String)},
			{Name: "cents", Type: featurestore.Int64, Path: "price.cents"},
			{Name: "big", Type: featurestore.Float64},
			{Name: "city", Type: featurestore.String, Path: "city.value"},
			{Name: "card", Type: featurestore.String},
			{Name: "cash", Type: featurestore.String},
			{Name: "gone", Type: featurestore.String},
		},
	}
}

// orderMessage is the descriptor of the example's message.
func orderMessage(t testing.TB) protoreflect.MessageDescriptor {
	t.Helper()
	file, err := compileProtobuf(t.Context(), protoOrder, []reference{{"shop/money.proto", protoMoney}})
	if err != nil {
		t.Fatal(err)
	}
	return file.Messages().ByName("Order")
}

// encodeProtobuf writes a message that is given as JSON.
func encodeProtobuf(t testing.TB, text string) []byte {
	t.Helper()
	m := dynamicpb.NewMessage(orderMessage(t))
	if err := protojson.Unmarshal([]byte(text), m); err != nil {
		t.Fatal(err)
	}
	value, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// descriptorSet is the set that a tool writes for the example.
func descriptorSet(t testing.TB) []byte {
	t.Helper()
	set := &descriptorpb.FileDescriptorSet{}
	seen := map[string]bool{}
	var add func(f protoreflect.FileDescriptor)
	add = func(f protoreflect.FileDescriptor) {
		if seen[f.Path()] {
			return
		}
		seen[f.Path()] = true
		for i := range f.Imports().Len() {
			add(f.Imports().Get(i))
		}
		set.File = append(set.File, protoutil.ProtoFromFileDescriptor(f))
	}
	add(orderMessage(t).ParentFile())
	bytes, err := proto.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return bytes
}

// registerOrder registers the example and returns its id.
func registerOrder(t testing.TB, fake *srfake.Registry) int {
	t.Helper()
	if _, _, err := fake.RegisterSchema("money", sr.Schema{Schema: protoMoney, Type: sr.TypeProtobuf}); err != nil {
		t.Fatal(err)
	}
	id, _, err := fake.RegisterSchema("orders-value", sr.Schema{Schema: protoOrder, Type: sr.TypeProtobuf, References: []sr.SchemaReference{{Name: "shop/money.proto", Subject: "money", Version: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// second is the index of the second message of a file, as the wire format writes it: how
// many numbers, then each as a zigzag varint.
const second = "\x02\x02"

// TestProtobuf decodes the same messages plain, by a descriptor set, and from the registry.
func TestProtobuf(t *testing.T) {
	fake, schemas := registry(t)
	id := registerOrder(t, fake)
	plain, registered := protobufSource(), protobufSource()
	plain.DescriptorSet = descriptorSet(t)
	stored, err := json.Marshal(plain) // as it comes from the stored definitions
	if err != nil {
		t.Fatal(err)
	}
	plain = &featurestore.Source{}
	if err := json.Unmarshal(stored, plain); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, json, want string }{
		{"everything", protoJSON, `3/7/0@5 [42 "PAID" 2.5 3 true 0x0001 ["a" "b"] 250 7 "Ulm" "visa" null null]`},
		// What proto3 cannot tell from absent is its zero; what it can is null.
		{"nothing", `{"at":"2023-11-14T22:13:20Z"}`, `3/7/0@0 [0 "UNKNOWN" null 0 false 0x [] null 0 null null null null]`},
	} {
		value := encodeProtobuf(t, c.json)
		for name, decode := range map[string]func() ([]featurestore.Event, error){
			"plain": func() ([]featurestore.Event, error) {
				return NewDecoder([]Version{{Source: plain}}, nil).Decode(t.Context(), record(string(value), 0), nil)
			},
			"registered": func() ([]featurestore.Event, error) {
				return NewDecoder([]Version{{Source: registered}}, schemas).Decode(t.Context(), record(framed(id, []byte(second+string(value))), 0), nil)
			},
		} {
			if events, err := decode(); err != nil || show(events) != c.want {
				t.Errorf("%s, %s: %v\n%s\nwant\n%s", c.name, name, err, show(events), c.want)
			}
		}
	}
}

// TestDamagedDescriptorSet: what is stored is not the record's fault.
func TestDamagedDescriptorSet(t *testing.T) {
	source := protobufSource()
	source.DescriptorSet = []byte("damaged")
	_, err := NewDecoder([]Version{{Source: source}}, nil).Decode(t.Context(), record("", 0), nil)
	if !errors.Is(err, ErrBlocked) {
		t.Errorf("got %v, want ErrBlocked", err)
	}
}

func TestProtobufExplode(t *testing.T) {
	source := protobufSource()
	source.DescriptorSet = descriptorSet(t)
	source.Explode, source.TimeField, source.TimeUnit = "items", "at_ms", featurestore.Milliseconds
	source.Fields = []featurestore.Field{
		{Name: "sku", Type: featurestore.String, Path: "items.sku", Required: true}, {Name: "weight", Type: featurestore.Float64, Path: "items.weight"}, {Name: "buyer", Type: featurestore.Int64},
	}
	ids := protobufSource()
	ids.DescriptorSet, ids.Explode, ids.TimeField, ids.TimeRecord = source.DescriptorSet, "ids", "", true
	ids.Fields = []featurestore.Field{{Name: "id", Type: featurestore.Int64, Path: "ids"}}
	for want, source := range map[string]*featurestore.Source{
		"3/7/0@1000 [\"tea\" 0.5 42]\n3/7/1@1000 [\"cup\" 0 42]": source,
		"3/7/0@0 [5]\n3/7/1@0 [6]":                               ids,
	} {
		events, err := NewDecoder([]Version{{Source: source}}, nil).Decode(t.Context(), record(string(encodeProtobuf(t, protoJSON)), 0), nil)
		if err != nil || show(events) != want {
			t.Errorf("%v\n%s\nwant\n%s", err, show(events), want)
		}
	}
}

func TestBadProtobufSaysWhy(t *testing.T) {
	fake, schemas := registry(t)
	id := registerOrder(t, fake)
	broken, _, err := fake.RegisterSchema("broken", sr.Schema{Schema: `import "nowhere.proto";`, Type: sr.TypeProtobuf})
	if err != nil {
		t.Fatal(err)
	}
	avroID, _, err := fake.RegisterSchema("avro", sr.Schema{Schema: `"long"`})
	if err != nil {
		t.Fatal(err)
	}
	set := descriptorSet(t)
	change := func(f func(*featurestore.Source)) *featurestore.Source {
		s := protobufSource()
		s.DescriptorSet = set
		if f != nil {
			f(s)
		}
		return s
	}
	field := func(i int, typ featurestore.Type, path string) *featurestore.Source {
		return change(func(s *featurestore.Source) { s.Fields[i].Type, s.Fields[i].Path = typ, path })
	}
	good := string(encodeProtobuf(t, protoJSON))
	for _, c := range []struct {
		name, value, want string
		source            *featurestore.Source
	}{
		{"no message", "\xff", "is no message shop.Order", change(nil)},
		{"time missing", "", `"at", the event time, is missing`, change(nil)},
		{"unknown enum value", good + "\x18\x07", `field "state" is 7, which enum shop.Order.State does not name`, change(nil)},
		{"too big", good + "\x58\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", `field "big" is 18446744073709551615, which no int64`, field(8, featurestore.Int64, "")},
		{"not the same float", good + "\x58\xff\xff\xff\xff\xff\xff\xff\x7f", `field "big" is the whole number`, change(nil)},
		{"string for int", good, `field "tags" is a list of string; a single value`, field(6, featurestore.String, "")},
		{"wrong elements", good, `field "tags" element 1 is`, field(6, featurestore.ListOf(featurestore.Int64), "")},
		{"list for scalar", good, `field "count" is the whole number 3; list<int64>`, field(3, featurestore.ListOf(featurestore.Int64), "")},
		{"message for string", good, `is a message shop.Money; string`, field(7, featurestore.String, "price")},
		{"map", good, `is a map`, field(7, featurestore.String, "notes")},
		{"path through a value", good, `"state" is of kind enum; a message`, field(7, featurestore.Int64, "state.cents")},
		{"negative time", good + "\x12\x02\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "no message", change(nil)},
		{"number without unit", good, "does not say its unit", change(func(s *featurestore.Source) { s.TimeField = "at_ms" })},
		{"empty", "", "does not begin with the id of a schema", protobufSource()},
		{"no index", framed(id, nil), "does not say which message", protobufSource()},
		{"another message", framed(id, []byte("\x00")), "is another message of schema", protobufSource()},
		{"a message that is not there", framed(id, []byte("\x02\x08")), "which has none there", protobufSource()},
		{"Avro", framed(avroID, []byte(second)), "is no protobuf schema", protobufSource()},
		{"broken schema", framed(broken, []byte(second)), "cannot be compiled", protobufSource()},
		{"unknown id", framed(99, []byte(second)), "does not know schema 99", protobufSource()},
	} {
		_, err := NewDecoder([]Version{{Source: c.source}}, schemas).Decode(t.Context(), record(c.value, 0), nil)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want something with %q", c.name, err, c.want)
		}
	}
}

// FuzzProtobuf feeds the decoder anything; it may refuse, not panic.
func FuzzProtobuf(f *testing.F) {
	f.Add(encodeProtobuf(f, protoJSON))
	fake, schemas := registry(f)
	id := registerOrder(f, fake)
	plain, exploding := protobufSource(), protobufSource()
	plain.DescriptorSet = descriptorSet(f)
	exploding.DescriptorSet = plain.DescriptorSet
	exploding.Explode, exploding.Fields = "items", []featurestore.Field{{Name: "sku", Type: featurestore.String, Path: "items.sku"}}
	decoders := []*Decoder{NewDecoder([]Version{{Source: plain}}, nil), NewDecoder([]Version{{Source: exploding}}, nil)}
	registered := NewDecoder([]Version{{Source: protobufSource()}}, schemas)
	f.Fuzz(func(t *testing.T, value []byte) {
		for _, d := range decoders {
			_, _ = d.Decode(t.Context(), record(string(value), 0), nil)
		}
		_, _ = registered.Decode(t.Context(), record(framed(id, value), 0), nil)
	})
}

func BenchmarkProtobuf(b *testing.B) {
	source := protobufSource()
	source.DescriptorSet = descriptorSet(b)
	d := NewDecoder([]Version{{Source: source}}, nil)
	r, events := record(string(encodeProtobuf(b, protoJSON)), 0), make([]featurestore.Event, 0, 1)
	for b.Loop() {
		if _, err := d.Decode(b.Context(), r, events); err != nil {
			b.Fatal(err)
		}
	}
}
