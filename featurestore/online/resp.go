package online

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

var errRESP = errors.New("an answer of Redis in an unknown form")

// appendBulks parses an array of bulk strings in RESP2 or RESP3 and appends a view of
// each to dst, nil for a null.
//
// The format: https://redis.io/docs/latest/develop/reference/protocol-spec/
func appendBulks(dst [][]byte, reply []byte) ([][]byte, error) {
	kind, n, rest, err := respHead(reply)
	switch {
	case err != nil:
		return dst, err
	case kind != '*' || n < 0:
		return dst, errRESP
	}
	for range n {
		kind, size, after, err := respHead(rest)
		switch {
		case err != nil:
			return dst, err
		case kind == '_' || kind == '$' && size < 0:
			dst, rest = append(dst, nil), after
		case kind != '$' || len(after) < size+2:
			return dst, errRESP
		default:
			dst, rest = append(dst, after[:size:size]), after[size+2:]
		}
	}
	return dst, nil
}

// respHead takes the first line of a reply: its kind and, but for a null, its number.
func respHead(reply []byte) (kind byte, n int, rest []byte, err error) {
	end := bytes.IndexByte(reply, '\n')
	if end < 2 {
		return 0, 0, nil, errRESP
	}
	line := reply[1 : end-1]
	switch kind = reply[0]; kind {
	case '-':
		return kind, 0, nil, fmt.Errorf("error of Redis: %s", line)
	case '_':
		return kind, -1, reply[end+1:], nil
	}
	n, err = strconv.Atoi(string(line))
	if err != nil {
		return 0, 0, nil, errRESP
	}
	return kind, n, reply[end+1:], nil
}
