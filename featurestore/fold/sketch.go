package fold

import (
	"encoding/binary"

	"github.com/onehop/onehop/featurestore"
)

// sketch is what one tile keeps of a field in place of its values. Its packed form is
// canonical: it depends on the set of values alone, not on their order.
type sketch[T any] interface {
	*T
	add(v *featurestore.Value)
	append(dst []byte) []byte
	decode(packed []byte) error
	inspect() featurestore.Value
	reset()
}

// sketches is a column of sketches. Those that a batch does not touch stay packed.
type sketches[T any, S sketch[T]] struct {
	cells[sketchCell[T]]
	spare []*T // sketches to be used again
}

// sketchCell is the sketch of one tile: open when an event has come since the row was
// decoded, and else packed, in memory of the row.
type sketchCell[T any] struct {
	packed []byte
	open   *T
}

func (c *sketches[T, S]) drop(n int) {
	for i := range c.tiles[:n] {
		if c.tiles[i].open != nil {
			c.spare = append(c.spare, c.tiles[i].open)
		}
	}
	c.cells.drop(n)
}

func (c *sketches[T, S]) fold(i int, v *featurestore.Value) {
	if v.IsNull() {
		return
	}
	S(c.at(i)).add(v)
}

// at opens the sketch of tile i. A packed sketch that is damaged was refused by decode.
func (c *sketches[T, S]) at(i int) *T {
	cell := &c.tiles[i]
	if cell.open != nil {
		return cell.open
	}
	if n := len(c.spare); n > 0 {
		cell.open, c.spare = c.spare[n-1], c.spare[:n-1]
		S(cell.open).reset()
	} else {
		cell.open = new(T)
	}
	_ = S(cell.open).decode(cell.packed)
	return cell.open
}

func (c *sketches[T, S]) append(dst []byte) []byte {
	dst = append(dst, byte(encBlobs))
	start := len(dst)
	for i := range c.tiles {
		cell := &c.tiles[i]
		one := len(dst)
		if cell.open != nil {
			dst = S(cell.open).append(dst)
		} else {
			dst = append(dst, cell.packed...)
		}
		dst = prefixLength(dst, one)
	}
	return prefixLength(dst, start)
}

func (c *sketches[T, S]) decode(src []byte, n int) ([]byte, error) {
	col, rest, err := nextColumn(src, n)
	if err != nil {
		return nil, err
	}
	c.drop(len(c.tiles))
	blobs := col.blobs(0)
	var check T
	for range n {
		packed, err := blobs.next()
		if err == nil {
			err = S(&check).decode(packed)
		}
		if err != nil {
			return nil, err
		}
		c.tiles = append(c.tiles, sketchCell[T]{packed: packed})
	}
	return rest, nil
}

func (c *sketches[T, S]) inspect(i int) featurestore.Value { return S(c.at(i)).inspect() }

// prefixLength puts the length of dst[start:] as an uvarint before it.
func prefixLength(dst []byte, start int) []byte {
	var prefix [binary.MaxVarintLen64]byte
	size := len(dst) - start
	n := binary.PutUvarint(prefix[:], uint64(size))
	dst = append(dst, prefix[:n]...)
	copy(dst[start+n:], dst[start:start+size])
	copy(dst[start:], prefix[:n])
	return dst
}

// nextBlobs takes a column of blobs, behind its length, off src: each is its length as an
// uvarint and its bytes.
func nextBlobs(src []byte) (c column, rest []byte, err error) {
	size, src, err := uvarint(src)
	if err != nil || size > uint64(len(src)) {
		return column{}, nil, errTruncated
	}
	return column{enc: encBlobs, data: src[:size]}, src[size:], nil
}

// blobs is a walk over the blobs of a column.
type blobs struct{ data []byte }

// blobs walks over the column from blob number lo on; a damaged column ends early.
func (c column) blobs(lo int) blobs {
	b := blobs{data: c.data}
	if c.enc != encBlobs {
		b.data = nil
	}
	for range lo {
		if _, err := b.next(); err != nil {
			return blobs{}
		}
	}
	return b
}

func (b *blobs) next() ([]byte, error) {
	n, rest, err := uvarint(b.data)
	if err != nil || n > uint64(len(rest)) {
		return nil, errTruncated
	}
	b.data = rest[n:]
	return rest[:n], nil
}
