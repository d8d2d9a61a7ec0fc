package stream

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr/srfake"
)

// TestRegistryAway lets the registry fail in every way that is not an answer: none is a
// reason for a dead letter, and all is well when it is back.
func TestRegistryAway(t *testing.T) {
	fake, schemas := registry(t)
	now := time.Unix(1000, 0)
	schemas.now = func() time.Time { return now }
	d := NewDecoder([]Version{{Source: avroSource()}}, schemas)
	r := record(encodeAvro(t, fake, avroOrder, avroDatum()), 0)
	for name, handle := range map[string]func(http.ResponseWriter, *http.Request){
		"an error of the server":     func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"no such page, from a proxy": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "not found", http.StatusNotFound) },
		"not allowed":                func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) },
		"no JSON":                    func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
		"a reply without end": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"schema":"` + strings.Repeat("x", maxRegistryReply) + `"}`))
		},
		"an error that is not theirs": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(`{"error_code":50002,"message":"x"}`))
		},
		"a connection that is dropped": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		fake.Intercept(func(w http.ResponseWriter, r *http.Request) bool { handle(w, r); return true })
		if _, err := d.Decode(t.Context(), r, nil); !errors.Is(err, ErrBlocked) {
			t.Errorf("%s: %v", name, err)
		}
		fake.ClearInterceptors()
		if _, err := d.Decode(t.Context(), r, nil); !errors.Is(err, ErrBlocked) {
			t.Errorf("%s: asked again at once: %v", name, err)
		}
		now = now.Add(awayFor + 1)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	release := make(chan struct{})
	fake.Intercept(func(http.ResponseWriter, *http.Request) bool { <-release; return false })
	if _, err := d.Decode(ctx, r, nil); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, ErrBlocked) {
		t.Errorf("no answer until we have no time any more: %v", err)
	}
	if _, err := d.Decode(t.Context(), r, nil); !errors.Is(err, ErrBlocked) || !strings.Contains(err.Error(), "not answered within") {
		t.Errorf("no answer: %v", err)
	}
	close(release) // the answer to the first of the two
	if events, err := d.Decode(t.Context(), r, nil); err != nil || len(events) != 1 {
		t.Errorf("the registry is back: %d events, %v", len(events), err)
	}
	_, err := NewDecoder([]Version{{Source: avroSource()}}, nil).Decode(t.Context(), r, nil)
	if !errors.Is(err, ErrBlocked) || !strings.Contains(err.Error(), "--schema-registry") {
		t.Errorf("no registry: %v", err)
	}
}

// TestCloseGivesUp closes while the registry is asked and does not answer.
func TestCloseGivesUp(t *testing.T) {
	fake, schemas := registry(t)
	release := make(chan struct{})
	defer close(release)
	fake.Intercept(func(http.ResponseWriter, *http.Request) bool { <-release; return false })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := schemas.get(ctx, 1); !errors.Is(err, ErrBlocked) {
		t.Errorf("no answer: %v", err)
	}
	begun := time.Now()
	schemas.Close()
	if took := time.Since(begun); took > registryTimeout/2 {
		t.Errorf("closing took %s", took)
	}
}

// TestSchemasAreKept asks the registry once for what it knows, however many ask, and
// again, after a while, for what it did not know.
func TestSchemasAreKept(t *testing.T) {
	fake, schemas := registry(t)
	now := time.Unix(1000, 0)
	schemas.now = func() time.Time { return now }
	var asked atomic.Int32
	begun := make(chan struct{}, 8)
	fake.Intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet && asked.Add(1) == 1 {
			for range cap(begun) { // so that they meet
				<-begun
			}
		}
		return false
	})
	value := encodeAvro(t, fake, avroOrder, avroDatum())
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			d := NewDecoder([]Version{{Source: avroSource()}}, schemas)
			begun <- struct{}{}
			for range 3 {
				if _, err := d.Decode(t.Context(), record(value, 0), nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times for one schema", n)
	}
	fake.ClearInterceptors()
	asked.Store(0)
	fake.Intercept(func(http.ResponseWriter, *http.Request) bool { asked.Add(1); return false })
	d := NewDecoder([]Version{{Source: avroSource()}}, schemas)
	for i, want := range []int32{1, 1, 2} {
		if _, err := d.Decode(t.Context(), record(framed(77, nil), 0), nil); err == nil || errors.Is(err, ErrBlocked) {
			t.Errorf("an unknown id: %v", err)
		}
		if n := asked.Load(); n != want {
			t.Errorf("after %d records with an unknown id: asked %d times, want %d", i+1, n, want)
		}
		if i == 1 {
			now = now.Add(unknownFor + 1)
		}
	}
	schemas.mu.Lock()
	defer schemas.mu.Unlock()
	for id := range 3 * maxSchemas {
		schemas.keep(id, &schema{})
	}
	if n := len(schemas.known); n != maxSchemas {
		t.Errorf("%d schemas are kept, at most %d should be", n, maxSchemas)
	}
}

func TestRegistryCredentials(t *testing.T) {
	fake := srfake.New(srfake.WithAuth("Basic YW5uOnNlY3JldA==")) // ann:secret
	defer fake.Close()
	for password, known := range map[string]bool{"secret": true, "wrong-one": false} {
		schemas, err := NewSchemas(fake.URL(), "ann", password)
		if err != nil {
			t.Fatal(err)
		}
		_, err = NewDecoder([]Version{{Source: avroSource()}}, schemas).Decode(t.Context(), record(framed(1, nil), 0), nil)
		if errors.Is(err, ErrBlocked) == known || strings.Contains(err.Error(), password) {
			t.Errorf("password %s: %v", password, err)
		}
		schemas.Close()
	}
}

// TestRegistryAwayWhileConsuming takes the registry away under a consumer: nothing is
// rejected and nothing skipped.
func TestRegistryAwayWhileConsuming(t *testing.T) {
	fake, schemas := registry(t)
	start := time.Now()
	schemas.now = func() time.Time { return start.Add(100 * time.Since(start)) } // so that the test need not wait
	source := avroSource()
	source.MaxAge = 100 * 365 * 24 * time.Hour
	value := encodeAvro(t, fake, avroOrder, avroDatum())
	var failures atomic.Int32
	fake.Intercept(func(w http.ResponseWriter, _ *http.Request) bool {
		if failures.Add(1) > 3 {
			return false
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	r := &recorder{schemas: schemas, source: source, value: func(int) string { return value }}
	r.fail = func(batch Batch) error {
		if len(batch.Rejected) > 0 {
			t.Errorf("rejected: %v", batch.Rejected[0].Reason)
		}
		return nil
	}
	if err := consume(t, 20, r); err != nil {
		t.Fatal(err)
	}
	checkSeen(t, r, 20)
	if r.opened < 4 || failures.Load() < 4 {
		t.Errorf("opened %d times, %d requests: the registry was never away", r.opened, failures.Load())
	}
}

// TestGoodRecordsBeforeABlockedOne processes what can be decoded first.
func TestGoodRecordsBeforeABlockedOne(t *testing.T) {
	plain := testSource()
	needs := avroSource()
	p := &partition{decoder: NewDecoder([]Version{{Source: plain}, {From: recordMillis * 1000, Source: needs}}, nil)}
	var list []*kgo.Record
	for i, after := range []int64{-1, -1, 0, -1} {
		r := record(good, after)
		if after == 0 {
			r = record(framed(1, nil), after)
		}
		r.Offset = int64(i)
		list = append(list, r)
	}
	batch, n, err := p.decode(t.Context(), list)
	if n != 2 || batch.To != 2 || len(batch.Events) != 2 || len(batch.Rejected) != 0 || !errors.Is(err, ErrBlocked) {
		t.Errorf("%d records taken, to %d, %d events, %d rejected, %v", n, batch.To, len(batch.Events), len(batch.Rejected), err)
	}
	p.next = batch.To
	if batch, n, err := p.decode(t.Context(), list[n:]); n != 0 || batch.To != 2 || !errors.Is(err, ErrBlocked) {
		t.Errorf("again: %d records taken, to %d, %v", n, batch.To, err)
	}
}
