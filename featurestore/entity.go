package featurestore

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
)

// MaxKeyBytes is the longest encoded entity key that is accepted.
const MaxKeyBytes = 1024

// Buckets is the number of buckets that the rows of a generation are spread
// over. It is part of the layout of keys in Redis and never changes.
const Buckets = 64

// Entity is what features describe: a user, a movie.
type Entity struct {
	Name string
	// Keys are the join keys in declared order; at least one.
	Keys []JoinKey
}

// JoinKey is one part of an entity's key.
type JoinKey struct {
	Name string
	// Type is Int64, String or Bytes.
	Type Type
}

// AppendKey appends the encoded entity key of values, one for each join key in
// declared order, to dst. Keys of one part are readable as they are (an int64 in
// decimal, text as it is); parts are joined by '|', and a '|' or '\' inside a part
// of a longer key is escaped by '\', so that no two keys collide.
//
// It fails when a value is null, of another type than declared, empty, or when
// the key is longer than [MaxKeyBytes].
func (e *Entity) AppendKey(dst []byte, values []Value) ([]byte, error) {
	start := len(dst)
	for i, key := range e.Keys {
		if i > 0 {
			dst = append(dst, '|')
		}
		v := values[i]
		if v.Type != key.Type {
			return dst[:start], fmt.Errorf("join key %q is %s; it must be %s", key.Name, typeOrNull(v), key.Type)
		}
		switch {
		case key.Type == Int64:
			dst = strconv.AppendInt(dst, v.Int(), 10)
		case len(v.Bytes) == 0:
			return dst[:start], fmt.Errorf("join key %q is empty", key.Name)
		case len(e.Keys) == 1:
			dst = append(dst, v.Bytes...)
		default:
			dst = appendEscaped(dst, v.Bytes)
		}
	}
	if n := len(dst) - start; n > MaxKeyBytes {
		return dst[:start], fmt.Errorf("the key of entity %q has %d bytes; at most %d are allowed", e.Name, n, MaxKeyBytes)
	}
	return dst, nil
}

// ParseKey is the inverse of [Entity.AppendKey].
func (e *Entity) ParseKey(key []byte) ([]Value, error) {
	parts := [][]byte{key}
	if len(e.Keys) > 1 {
		parts = splitEscaped(key)
	}
	if len(parts) != len(e.Keys) {
		return nil, fmt.Errorf("entity %q has %d join keys; %q has %d parts", e.Name, len(e.Keys), key, len(parts))
	}
	values := make([]Value, len(parts))
	for i, part := range parts {
		v, err := e.Keys[i].parse(part)
		if err != nil {
			return nil, err
		}
		values[i] = v
	}
	return values, nil
}

func (k JoinKey) parse(part []byte) (Value, error) {
	if k.Type != Int64 {
		if len(part) == 0 {
			return Value{}, fmt.Errorf("join key %q is empty", k.Name)
		}
		return Value{Type: k.Type, Bytes: part}, nil
	}
	n, err := strconv.ParseInt(string(part), 10, 64)
	if err != nil {
		return Value{}, fmt.Errorf("join key %q is an int64; %q is not", k.Name, part)
	}
	return IntValue(n), nil
}

// KeyText is an encoded key as a log or a JSON message can carry it: itself when
// it is printable text, else base64 after "base64:".
func KeyText(key []byte) string {
	text := string(key)
	if utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return text
	}
	return "base64:" + base64.StdEncoding.EncodeToString(key)
}

// Bucket is the bucket of an encoded entity key, in [0, Buckets).
func Bucket(key []byte) int { return int(xxhash.Sum64(key) % Buckets) }

func appendEscaped(dst, part []byte) []byte {
	for _, b := range part {
		if b == '|' || b == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, b)
	}
	return dst
}

func splitEscaped(key []byte) [][]byte {
	var parts [][]byte
	var part []byte
	for i := 0; i < len(key); i++ {
		switch {
		case key[i] == '\\' && i+1 < len(key):
			i++
			part = append(part, key[i])
		case key[i] == '|':
			parts = append(parts, part)
			part = nil
		default:
			part = append(part, key[i])
		}
	}
	return append(parts, part)
}

func typeOrNull(v Value) string {
	if v.IsNull() {
		return "null"
	}
	return v.Type.String()
}
