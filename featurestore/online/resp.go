package online

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/redis/go-redis/v9"
)

var errRESP = errors.New("an answer of Redis in an unknown form")

var errTooLarge = errors.New("the reply is too large")

// errEnd ends a reply that was read to its end. For go-redis it is an error of Redis, which leaves the connection as it is; so is redis.Nil, but of
// that it asks a dozen questions first, each with an allocation.
var errEnd error = endError{}

type endError struct{}

func (endError) Error() string { return "the end of the reply" }

// RedisError implements redis.Error: the connection is in order.
func (endError) RedisError() {}

// Is says what go-redis may take it for: an end, which ends its questions whether to ask once more (it never does after a raw reply), and a
// reply without a value, which is none of the failures that are counted.
func (endError) Is(target error) bool { return target == io.EOF || target == redis.Nil }

// maxReply bounds the bytes of the rows of one read.
const maxReply = 64 << 20

// maxPooled is the most memory for replies that is kept for the next read.
const maxPooled = 8 << 20

// bulks takes an array of bulk strings, in RESP2 or RESP3. go-redis hands on a reply that is asked for raw piece by piece: a line, its
// end, and after a line that announces a string a reader of that string, limited to it. From the first of those on bulks reads by
// itself, from the buffer of the connection that is behind the limit, as much at a time as is there: handed on, each string costs an
// allocation and three calls. When the array has been read to its end, and not a byte further, it says so by errEnd, after which
// go-redis reads no more and uses the connection again; after any other error it closes it. Strings are copied once.
//
// The format: https://redis.io/docs/latest/develop/reference/protocol-spec/
type bulks struct {
	text  []byte
	spans []span // of the strings in text
	count int    // how many there are to be, −1 before that is known
	size  int    // of the string that comes next, −1 if a line comes
	err   error  // of Redis
}

// span is where a string is; from is −1 for a null.
type span struct{ from, to int }

func (b *bulks) reset() { *b = bulks{text: b.text[:0], spans: b.spans[:0], count: -1, size: -1} }

// appendTo appends a view of each string, nil for a null.
func (b *bulks) appendTo(dst [][]byte) ([][]byte, error) {
	switch {
	case b.err != nil:
		return dst, b.err
	case b.count != len(b.spans):
		return dst, errRESP
	}
	for _, s := range b.spans {
		if s.from < 0 {
			dst = append(dst, nil)
			continue
		}
		dst = append(dst, b.text[s.from:s.to:s.to])
	}
	return dst, nil
}

// took is what the error of the command says of the reply.
func (b *bulks) took(err error) error {
	if errors.Is(err, errEnd) && b.count == len(b.spans) {
		return nil
	}
	return err
}

// Write implements io.Writer: it takes a line, or the end of one.
func (b *bulks) Write(line []byte) (int, error) {
	if string(line) == "\r\n" {
		return len(line), nil
	}
	if err := b.line(line); err != nil {
		return 0, err
	}
	return len(line), nil
}

func (b *bulks) line(line []byte) error {
	if len(line) == 0 || b.err != nil || b.size >= 0 {
		return errRESP
	}
	kind, n := line[0], -1
	switch kind {
	case '-':
		b.err = fmt.Errorf("error of Redis: %s", line[1:])
		return nil // it is a whole reply
	case '*', '$':
		var err error
		if n, err = strconv.Atoi(string(line[1:])); err != nil {
			return errRESP
		}
	}
	switch {
	case kind == '*' && b.count < 0 && n >= 0:
		b.count = n
	case b.count < 0:
		return errRESP
	case kind == '$' && n >= 0:
		b.size = n
	case kind == '$' || kind == '_':
		b.spans = append(b.spans, span{from: -1})
	default:
		return errRESP
	}
	return nil
}

// ReadFrom implements io.ReaderFrom: it takes the string that was announced, and all that come after it.
func (b *bulks) ReadFrom(src io.Reader) (int64, error) {
	limited, ok := src.(*io.LimitedReader)
	if !ok || b.size < 0 || limited.N != int64(b.size)+2 {
		return 0, errRESP
	}
	from, ok := limited.R.(*bufio.Reader)
	if !ok {
		return 0, errRESP
	}
	for {
		there, err := from.Peek(max(1, from.Buffered()))
		if err != nil {
			return 0, err //nolint:wrapcheck // go-redis looks at what it is
		}
		n, err := b.scan(there)
		if err != nil {
			return 0, err
		}
		b.text = append(b.text, there[:n]...)
		if _, err := from.Discard(n); err != nil {
			return 0, err //nolint:wrapcheck // see above
		}
		if b.size < 0 && len(b.spans) == b.count {
			return 0, errEnd
		}
		if err := b.rest(from); err != nil {
			return 0, err
		}
	}
}

// scan takes the strings and lines that are whole in what is there, and says how many bytes of it they are. They are to be appended to the
// text as they are.
func (b *bulks) scan(there []byte) (n int, err error) {
	for b.size >= 0 || len(b.spans) < b.count {
		if b.size < 0 {
			end := bytes.IndexByte(there[n:], '\n')
			if end < 0 {
				break
			}
			if err := b.ended(there[n : n+end+1]); err != nil {
				return 0, err
			}
			n += end + 1
			continue
		}
		from := len(b.text) + n
		if b.size > maxReply-from {
			return 0, errTooLarge
		}
		if len(there)-n < b.size+2 {
			break
		}
		if n += b.size + 2; string(there[n-2:n]) != "\r\n" {
			return 0, errRESP
		}
		b.spans, b.size = append(b.spans, span{from: from, to: from + b.size}), -1
	}
	return n, nil
}

// rest takes the string or the line that was not there as a whole.
func (b *bulks) rest(src *bufio.Reader) error {
	if b.size < 0 {
		line, err := src.ReadSlice('\n')
		if err != nil {
			return err //nolint:wrapcheck // go-redis looks at what it is
		}
		return b.ended(line)
	}
	from, size := len(b.text), b.size+2
	b.text = slices.Grow(b.text, size)[:from+size]
	if _, err := io.ReadFull(src, b.text[from:]); err != nil {
		return err //nolint:wrapcheck // see above
	}
	if string(b.text[from+b.size:]) != "\r\n" {
		return errRESP
	}
	b.spans, b.size = append(b.spans, span{from: from, to: from + b.size}), -1
	return nil
}

// ended takes a line with its end.
func (b *bulks) ended(line []byte) error {
	if len(line) < 2 || line[len(line)-2] != '\r' {
		return errRESP
	}
	return b.line(line[:len(line)-2])
}
