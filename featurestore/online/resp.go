package online

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
)

var errRESP = errors.New("an answer of Redis in an unknown form")

var errTooLarge = errors.New("the reply is too large")

// maxReply bounds the bytes of the rows of one read.
const maxReply = 64 << 20

// maxPooled is the most memory for replies that is kept for the next read.
const maxPooled = 8 << 20

// bulks takes an array of bulk strings, in RESP2 or RESP3, in the pieces in which go-redis hands on a reply that is asked for raw: a
// line, its end, and after a line that announces a string the string and its end. Strings are copied once, from the connection's
// buffer. What is wrong with a reply is kept until it was read to its end, so that the connection can be used again.
//
// The format: https://redis.io/docs/latest/develop/reference/protocol-spec/
type bulks struct {
	text  []byte
	spans []span // of the strings in text
	count int    // how many there are to be, −1 before that is known
	size  int    // of the string that comes next, −1 if a line comes
	err   error
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

// Write implements io.Writer: it takes a line, or the end of one.
func (b *bulks) Write(line []byte) (int, error) {
	if string(line) != "\r\n" && b.err == nil {
		b.err = b.line(line)
	}
	return len(line), nil
}

func (b *bulks) line(line []byte) error {
	if len(line) == 0 || b.size >= 0 {
		return errRESP
	}
	kind, n := line[0], -1
	switch kind {
	case '-':
		return fmt.Errorf("error of Redis: %s", line[1:])
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

// ReadFrom implements io.ReaderFrom: it takes a string and its end.
func (b *bulks) ReadFrom(src io.Reader) (int64, error) {
	limited, ok := src.(*io.LimitedReader)
	if !ok || b.err != nil || limited.N != int64(b.size)+2 {
		if b.err == nil {
			b.err = errRESP
		}
		return io.Copy(io.Discard, src)
	}
	from := len(b.text)
	if b.size > maxReply-from {
		return 0, errTooLarge
	}
	size := b.size + 2
	b.text = slices.Grow(b.text, size)[:from+size]
	n, err := io.ReadFull(limited.R, b.text[from:])
	limited.N -= int64(n)
	if err == nil {
		b.spans, b.size = append(b.spans, span{from: from, to: from + b.size}), -1
	}
	return int64(n), err //nolint:wrapcheck // io.Copy looks at what it is
}
