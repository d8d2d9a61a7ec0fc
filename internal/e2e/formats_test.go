package e2e

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/protoutil"
	"github.com/jackc/pgx/v5"
	"github.com/twmb/avro"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
)

const formatDefinitions = `
namespace: e2e
entities:
  - name: user
    keys: [{name: user_id, type: int64}]
  - name: sku
    keys: [{name: sku, type: string}]
sources:
  - name: carts
    format: avro
    explode: items
    event_time: {path: meta.at}
    fields:
      - {name: sku, type: string, path: items.sku, required: true}
      - {name: cents, type: int64, path: items.cents, default: 1}
  - name: registered
    format: protobuf
    message: shop.Order
    event_time: {record: true}
    fields: [{name: user_id, type: int64, path: who.id, required: true}, {name: cents, type: int64}]
  - name: plain
    format: protobuf
    message: shop.Order
    descriptor_set: order.binpb
    event_time: {record: true}
    fields: [{name: user_id, type: int64, path: who.id, required: true}, {name: cents, type: int64}]
  - name: profiles
    format: json
    tombstone: delete
    event_time: {record: true}
    fields: [{name: user_id, type: int64, key: true, required: true}, {name: cents, type: int64, path: more.cents}]
  - name: clicks
    format: json
    explode: ids
    event_time: {record: true}
    fields: [{name: user_id, type: int64, path: ids, required: true}, {name: cents, type: int64, path: paid.cents}]
views:
  - {name: by_click, entity: user, source: clicks, features: [{name: sum, aggregate: sum, field: cents, windows: [lifetime]}]}
  - {name: by_sku, entity: sku, source: carts, features: [{name: sum, aggregate: sum, field: cents, windows: [lifetime]}]}
  - {name: by_registered, entity: user, source: registered, features: [{name: sum, aggregate: sum, field: cents, windows: [lifetime]}]}
  - {name: by_plain, entity: user, source: plain, features: [{name: sum, aggregate: sum, field: cents, windows: [lifetime]}]}
  - {name: by_profile, entity: user, source: profiles, features: [{name: sum, aggregate: sum, field: cents, windows: [lifetime]}]}
`

const (
	cartSchema = `{"type":"record","name":"Cart","fields":[
		{"name":"meta","type":{"type":"record","name":"Meta","fields":[{"name":"at","type":{"type":"long","logicalType":"timestamp-micros"}}]}},
		{"name":"items","type":{"type":"array","items":{"type":"record","name":"Item","fields":[{"name":"sku","type":"string"},{"name":"cents","type":["null","long"]}]}}}]}`
	orderProto = `syntax = "proto3"; package shop; message Order { message Who { int64 id = 1; } Who who = 1; int64 cents = 2; }`
)

// orderMessage is the descriptor of the protobuf message.
func orderMessage(t *testing.T) protoreflect.MessageDescriptor {
	t.Helper()
	compiler := protocompile.Compiler{Resolver: &protocompile.SourceResolver{Accessor: func(path string) (io.ReadCloser, error) {
		if path != "order.proto" {
			return nil, os.ErrNotExist
		}
		return io.NopCloser(strings.NewReader(orderProto)), nil
	}}}
	files, err := compiler.Compile(t.Context(), "order.proto")
	if err != nil {
		t.Fatal(err)
	}
	return files[0].Messages().ByName("Order")
}

func orderValue(t *testing.T, user, cents int) []byte {
	t.Helper()
	m := dynamicpb.NewMessage(orderMessage(t))
	if err := protojson.Unmarshal(fmt.Appendf(nil, `{"who":{"id":%d},"cents":%d}`, user, cents), m); err != nil {
		t.Fatal(err)
	}
	value, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func cartValue(t *testing.T, items ...any) []byte {
	t.Helper()
	value, err := avro.MustParse(cartSchema).Encode(map[string]any{"meta": map[string]any{"at": time.Now().UnixMicro()}, "items": items})
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func registered(id int, parts ...[]byte) []byte {
	value := binary.BigEndian.AppendUint32([]byte{0}, uint32(id))
	for _, p := range parts {
		value = append(value, p...)
	}
	return value
}

// formatFiles writes the definitions and the descriptor set that they name.
func formatFiles(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	file := protoutil.ProtoFromFileDescriptor(orderMessage(t).ParentFile())
	set, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{file}})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"all.yaml": []byte(formatDefinitions), "order.binpb": set} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// sums reads a view's sums; −1 for an entity of which nothing is known.
func (s *stack) sums(ctx context.Context, view string, entities map[string]*onehopv1.Values) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	res, err := s.onehop.Features().GetOnlineFeatures(ctx, &onehopv1.GetOnlineFeaturesRequest{Features: []string{view + ".sum_lifetime"}, Entities: entities})
	if err != nil {
		return "", err
	}
	column := res.GetColumns()[0]
	var texts []string
	for i, n := range column.GetValues().GetInt64() {
		if column.GetStatuses()[i] == onehopv1.Status_STATUS_NOT_FOUND {
			n = -1
		}
		texts = append(texts, strconv.FormatInt(n, 10))
	}
	return strings.Join(texts, " "), nil
}

func (s *stack) expectSums(t *testing.T, want map[string]string) {
	t.Helper()
	for view, sums := range want {
		entities := map[string]*onehopv1.Values{"user_id": {Int64: []int64{7, 8}}}
		if view == "by_sku" {
			entities = map[string]*onehopv1.Values{"sku": {String_: []string{"tea", "cup"}}}
		}
		eventually(t, 30*time.Second, view, func() error {
			got, err := s.sums(t.Context(), view, entities)
			if err == nil && got != sums {
				err = fmt.Errorf("sums %s, want %s", got, sums)
			}
			return err
		})
	}
}

// TestFormats reads records of every format into rows and history: the schema registry
// away at first, ingest killed in between, a tombstone on the way.
func TestFormats(t *testing.T) {
	fake := srfake.New()
	defer fake.Close()
	s := newStack(t)
	s.schemas, s.instance = fake.URL(), "formats"
	cart, _, err := fake.RegisterSchema("carts-value", sr.Schema{Schema: cartSchema})
	if err != nil {
		t.Fatal(err)
	}
	order, _, err := fake.RegisterSchema("registered-value", sr.Schema{Schema: orderProto, Type: sr.TypeProtobuf})
	if err != nil {
		t.Fatal(err)
	}
	fake.Intercept(func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	ingest := s.start(t, formatFiles(t))
	item := func(sku string, cents any) any { return map[string]any{"sku": sku, "cents": cents} }
	s.onehop.ProduceRecords(t, "carts",
		&kgo.Record{Value: registered(cart, cartValue(t, item("tea", int64(5)), item("cup", int64(7)), item("tea", nil)))},
		&kgo.Record{Value: registered(cart, cartValue(t))},
		&kgo.Record{Value: registered(99)}) // unknown: a dead letter, but not as long as nobody answers
	s.onehop.ProduceRecords(t, "registered", &kgo.Record{Value: registered(order, []byte{0}, orderValue(t, 7, 3))})
	plain := s.onehop.ProduceRecords(t, "plain", &kgo.Record{Value: orderValue(t, 7, 4)}, &kgo.Record{Value: orderValue(t, 8, 0)})
	profile := func(user, cents int) *kgo.Record {
		return &kgo.Record{Key: []byte(strconv.Itoa(user)), Value: fmt.Appendf(nil, `{"more":{"cents":%d}}`, cents)}
	}
	s.onehop.WaitVisible(t, s.onehop.ProduceRecords(t, "profiles", profile(7, 1), profile(8, 2))...)
	s.onehop.WaitVisible(t, plain...)
	s.expectSums(t, map[string]string{"by_plain": "4 0", "by_profile": "1 2"})
	if n := s.letters(t, "carts", 0); n != 0 {
		t.Fatalf("%d dead letters while the registry was away", n)
	}
	push := func(source, event string) error {
		_, err := s.onehop.Features().PushEvents(t.Context(), &onehopv1.PushEventsRequest{Source: source, Events: []string{event}})
		return err
	}
	if err := push("clicks", `{"ids":[7,8,7],"paid":{"cents":6}}`); err != nil {
		t.Fatal(err)
	}
	for source, want := range map[string]string{"profiles": "keys or headers", "plain": "its records are protobuf", "carts": "its records are avro"} {
		if err := push(source, `{}`); connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), want) {
			t.Errorf("pushing to %s: %v, want something with %q", source, err, want)
		}
	}
	s.expectSums(t, map[string]string{"by_click": "12 6"})
	fake.ClearInterceptors()
	s.expectSums(t, map[string]string{"by_sku": "6 7", "by_registered": "3 -1"})
	if n := s.letters(t, "carts", 1); n != 1 {
		t.Errorf("%d dead letters for an unknown schema", n)
	}
	ingest.kill()
	s.onehop.ProduceRecords(t, "profiles", profile(7, 10), &kgo.Record{Key: []byte("7")}, &kgo.Record{Key: []byte("8")}, profile(8, 4))
	s.onehop.ProduceRecords(t, "carts", &kgo.Record{Value: registered(cart, cartValue(t, item("cup", int64(1))))})
	s.startIngest(t)
	s.expectSums(t, map[string]string{"by_profile": "-1 4", "by_sku": "6 8", "by_plain": "4 0"})
	s.onehop.WaitVisible(t, s.onehop.ProduceRecords(t, "profiles", profile(7, 20))...)
	s.expectSums(t, map[string]string{"by_profile": "20 4"})
	s.expectRows(t, map[string]int{"carts": 4, "clicks": 3, "registered": 1, "plain": 2, "profiles WHERE deleted": 2, "profiles WHERE NOT deleted": 5})
}

// letters counts the dead letters of a source, once there are at least some.
func (s *stack) letters(t *testing.T, source string, least int) (n int) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(s.kafka...), kgo.ConsumeTopics(s.namespace+"."+source+".dead"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if least == 0 {
		ctx, cancel = context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
	}
	for n < max(least, 1) {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if n += fetches.NumRecords(); ctx.Err() != nil {
			break
		}
	}
	return n
}

// expectRows waits until tables of history have as many rows.
func (s *stack) expectRows(t *testing.T, want map[string]int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.postgres)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	for table, n := range want {
		name, where, _ := strings.Cut(table, " ")
		eventually(t, 30*time.Second, "the history of "+table, func() error {
			var got int
			err := conn.QueryRow(t.Context(), "SELECT count(*) FROM "+pgx.Identifier{"onehop_" + s.namespace, name}.Sanitize()+" "+where).Scan(&got)
			if err == nil && got != n {
				err = fmt.Errorf("%d rows, want %d", got, n)
			}
			return err
		})
	}
}
