package online

import (
	"fmt"
	"testing"

	"github.com/onehop/onehop/featurestore/ingest/storetest"
	"github.com/onehop/onehop/internal/testenv"
)

// BenchmarkRead reads 500 rows of 216 bytes, as most requests do and as those do that are logged.
func BenchmarkRead(b *testing.B) {
	client, err := Connect(b.Context(), testenv.Redis(b))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	store, err := Open(b.Context(), client)
	if err != nil {
		b.Fatal(err)
	}
	view, err := storetest.View(testenv.Namespace(b))
	if err != nil {
		b.Fatal(err)
	}
	v := NewView(view.Namespace, view.View)
	var keys [][]byte
	for i := range 202 {
		keys = append(keys, fmt.Append(nil, i))
		if err := client.Set(b.Context(), rowKey(v.prefix, keys[i]), make([]byte, 216), 0).Err(); err != nil {
			b.Fatal(err)
		}
	}
	for _, marked := range []bool{false, true} {
		b.Run(fmt.Sprintf("marked=%t", marked), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				read := store.NewRead()
				if marked {
					read.Mark()
				}
				for _, key := range keys {
					read.Add(v, key)
				}
				if err := read.Do(b.Context()); err != nil {
					b.Fatal(err)
				}
				read.Release()
			}
		})
	}
}
