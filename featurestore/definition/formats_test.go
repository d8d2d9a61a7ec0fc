package definition

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/onehop/onehop/featurestore"
)

const protobufDefinitions = `
namespace: shop
sources:
  - name: orders
    format: protobuf
    message: google.protobuf.Timestamp
    descriptor_set: protos/order.binpb
    event_time: {record: true}
    fields: [{name: seconds, type: int64}]
`

// writeSet writes definitions and, beside them, a descriptor set.
func writeSet(t *testing.T, definitions string, set []byte) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "protos"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"all.yaml": []byte(definitions), "protos/order.binpb": set} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func timestampSet(t *testing.T) []byte {
	t.Helper()
	file := protodesc.ToFileDescriptorProto(timestamppb.File_google_protobuf_timestamp_proto)
	set, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{file}})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// TestDescriptorSetIsPartOfTheCatalog reads a set beside the definitions: what is stored
// needs no file any more.
func TestDescriptorSetIsPartOfTheCatalog(t *testing.T) {
	set := timestampSet(t)
	catalog, err := Load(writeSet(t, protobufDefinitions, set))
	if err != nil {
		t.Fatal(err)
	}
	stored, err := json.Marshal(catalog)
	if err != nil {
		t.Fatal(err)
	}
	read := &featurestore.Catalog{}
	if err := json.Unmarshal(stored, read); err != nil || !bytes.Equal(read.Sources[0].DescriptorSet, set) {
		t.Errorf("the stored source has %d bytes of descriptors, %v; want %d", len(read.Sources[0].DescriptorSet), err, len(set))
	}
	other := append(bytes.Clone(set), set...) // says the same at twice the length
	changed := *read
	changed.Sources = append([]featurestore.Source(nil), read.Sources...)
	changed.Sources[0].DescriptorSet = other
	if changes := Diff(read, &changed); len(changes) != 1 || !strings.Contains(changes[0].Details[0], "descriptor_set: ") {
		t.Errorf("another descriptor set: %v", changes)
	}
}

func TestDescriptorSetMistakes(t *testing.T) {
	set := timestampSet(t)
	for _, c := range []struct {
		old, changed, want string
		set                []byte
	}{
		{"order.binpb", "odrer.binpb", "all.yaml:7:21: the descriptor set cannot be read", set},
		{"", "", "all.yaml:7:21: descriptor set \"protos/order.binpb\": it is not a FileDescriptorSet", []byte("x")},
		{"", "", "has more than 1048576 bytes", make([]byte, maxFileBytes+1)},
		{"protobuf.Timestamp", "protobuf.Time", `it has no message "google.protobuf.Time"`, set},
		{"name: seconds", "name: second", `all.yaml:9:21: field "second": message google.protobuf.Timestamp has no field "second"`, set},
		{"type: int64", "type: string", "all.yaml:9:21: field \"seconds\": google.protobuf.Timestamp.seconds is int64; string is needed", set},
		{"record: true", "field: nanos", "all.yaml:8:17: the event time: google.protobuf.Timestamp.nanos is int32, which does not say its unit", set},
		{"format", "explode: seconds\n    format", "google.protobuf.Timestamp.seconds is not repeated", set},
	} {
		_, err := Load(writeSet(t, strings.Replace(protobufDefinitions, c.old, c.changed, 1), c.set))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q for %q: %v, want something with %q", c.changed, c.old, err, c.want)
		}
	}
}
