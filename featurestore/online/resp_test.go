package online

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"

	"github.com/onehop/onehop/internal/telemetry"
	"github.com/onehop/onehop/internal/testenv"
)

// TestReadsKeepTheirConnection: a reply that is taken to its end leaves the connection fit for the next, wherever rows are missing, and
// whatever is too large or no array does not.
func TestReadsKeepTheirConnection(t *testing.T) {
	store := open(t, testenv.Redis(t))
	v := newView("{" + testenv.Namespace(t) + ":v@1")
	client := store.client.(*redis.Client)
	var keys [][]byte
	for i := range 20 {
		keys = append(keys, fmt.Append(nil, i))
		if i%3 == 1 {
			if err := client.Set(t.Context(), rowKey(v.prefix, keys[i]), bytes.Repeat(keys[i], 100*i), 0).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	metrics := prometheus.NewRegistry()
	client.AddHook(telemetry.NewRedisHook(metrics))
	before := client.PoolStats()
	for first := range keys {
		r := store.NewRead()
		for i := range keys {
			r.Add(v, keys[(first+i)%len(keys)])
		}
		if err := r.Do(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i := range keys {
			at := (first + i) % len(keys)
			var want []byte
			if at%3 == 1 {
				want = bytes.Repeat(keys[at], 100*at)
			}
			if !bytes.Equal(r.Row(i), want) || (r.Row(i) == nil) != (want == nil) {
				t.Fatalf("row %d of a read from key %d on is %.20q", i, first, r.Row(i))
			}
		}
		r.Release()
	}
	if after := client.PoolStats(); after.Misses != before.Misses || after.StaleConns != before.StaleConns || after.TotalConns != before.TotalConns {
		t.Errorf("connections before %+v, after %+v", before, after)
	}
	none := strings.NewReader("# HELP onehop_redis_errors_total Calls to Redis that failed.\n# TYPE onehop_redis_errors_total counter\nonehop_redis_errors_total 0\n")
	if err := testutil.GatherAndCompare(metrics, none, "onehop_redis_errors_total"); err != nil {
		t.Errorf("reads that went well are counted as errors: %v", err)
	}
}

// handOn hands on a reply as go-redis does.
func handOn(r *bufio.Reader, w io.Writer) error {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return err
	}
	if len(line) <= 2 || line[len(line)-2] != '\r' {
		return io.ErrNoProgress
	}
	line = bytes.Clone(line[:len(line)-2])
	for _, piece := range [][]byte{line, []byte("\r\n")} {
		if _, err := w.Write(piece); err != nil {
			return err
		}
	}
	n, err := strconv.Atoi(string(line[1:]))
	switch line[0] {
	case '$', '=', '!', '*', '~', '>':
		if err != nil || n < -1 {
			return io.ErrNoProgress
		}
	default:
		return nil
	}
	switch line[0] {
	case '$', '=', '!':
		if n >= 0 {
			_, err = io.CopyN(w, r, int64(n)+2)
		}
		return err
	default:
		for range min(n, 1<<20) {
			if err := handOn(r, w); err != nil {
				return err
			}
		}
		return nil
	}
}

// parse reads an array of strings and nulls the simple way. ok is false when it is none.
func parse(reply []byte) (rows [][]byte, rest []byte, ok bool) {
	number := func(kind byte) (int, bool) {
		line, after, found := bytes.Cut(rest, []byte("\r\n"))
		if !found || len(line) == 0 || line[0] != kind {
			return 0, false
		}
		n, err := strconv.Atoi(string(line[1:]))
		rest = after
		return n, err == nil
	}
	rest = reply
	count, ok := number('*')
	if !ok || count < 0 {
		return nil, nil, false
	}
	for range count {
		if len(rest) > 0 && rest[0] == '_' {
			_, rest, _ = bytes.Cut(rest, []byte("\r\n"))
			rows = append(rows, nil)
			continue
		}
		n, ok := number('$')
		switch {
		case !ok || n >= 0 && (len(rest) < n+2 || string(rest[n:n+2]) != "\r\n"):
			return nil, nil, false
		case n < 0:
			rows = append(rows, nil)
		default:
			rows, rest = append(rows, rest[:n:n]), rest[n+2:]
		}
	}
	return rows, rest, true
}

// FuzzRESP feeds the taker of replies anything, as go-redis hands it on; it may refuse, not panic, and what it takes is what was there, to
// its last byte and no further.
func FuzzRESP(f *testing.F) {
	f.Add([]byte("*3\r\n$3\r\nabc\r\n$-1\r\n_\r\n"))
	f.Add([]byte("*3\r\n$-1\r\n$2\r\nxy\r\n$0\r\n\r\n*1\r\n"))
	f.Add([]byte("*2\r\n$1\r\nx\r\n:7\r\n"))
	f.Add([]byte("*2\r\n$1\r\nx\r\n"))
	f.Add([]byte("*2\r\n$1\r\nxab$1\r\nxcd"))
	f.Add([]byte("*3\r\n$40\r\n" + strings.Repeat("xy", 20) + "\r\n$-1\r\n$1\r\nz\r\n>1\r\n"))
	f.Add([]byte("*0\r\n+OK\r\n"))
	f.Add([]byte("-LOADING Redis is loading\r\n"))
	f.Fuzz(func(t *testing.T, reply []byte) {
		if len(reply) > 1<<16 {
			t.Skip("longer than is needed to go wrong")
		}
		for _, room := range []int{16, 1 << 17} { // of the connection's buffer: strings do not fit, or all do
			fuzzRESP(t, reply, bufio.NewReaderSize(iotest.HalfReader(bytes.NewReader(reply)), room))
		}
	})
}

func fuzzRESP(t *testing.T, reply []byte, connection *bufio.Reader) {
	t.Helper()
	var b bulks
	b.reset()
	err := b.took(handOn(connection, &b))
	var got [][]byte
	if err == nil {
		got, err = b.appendTo(nil)
	}
	want, rest, ok := parse(reply)
	if err != nil {
		if ok && len(reply) > 0 && wellFormed(reply) {
			t.Fatalf("%q: %v", reply, err)
		}
		return
	}
	if !ok || !slices.EqualFunc(got, want, bytes.Equal) {
		t.Fatalf("%q: took %q, want %q", reply, got, want)
	}
	if left, err := io.ReadAll(connection); err != nil || !bytes.Equal(left, rest) {
		t.Fatalf("%q: %q is left, want %q", reply, left, rest)
	}
}

// wellFormed says that a reply is written as Redis writes it.
func wellFormed(reply []byte) bool {
	rows, rest, ok := parse(reply)
	if !ok {
		return false
	}
	written := fmt.Appendf(nil, "*%d\r\n", len(rows))
	for _, row := range rows {
		if row == nil {
			written = append(written, "$-1\r\n"...)
			continue
		}
		written = fmt.Appendf(written, "$%d\r\n%s\r\n", len(row), row)
	}
	return bytes.Equal(written, reply[:len(reply)-len(rest)])
}
