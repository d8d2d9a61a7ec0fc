package fold

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cespare/xxhash/v2"

	"github.com/onehop/onehop/featurestore"
)

const (
	codecVersion = 1
	// headerBytes is the fixed part of a row's head: stamp, codec, fingerprint.
	headerBytes = 8 + 1 + 8
)

// State is one row being folded. It is meant to be used again for row after row;
// it is not safe for concurrent use. The zero State is not usable: see
// [Program.NewState].
type State struct {
	program *Program
	newest  featurestore.Position
	some    bool // an event has been folded
	kept    []kept
	sets    []*tiles
}

// NewState is the state of an entity of which nothing is known.
func (p *Program) NewState() *State {
	s := &State{program: p}
	if len(p.latest) > 0 {
		s.kept = append(s.kept, newLatest(p.latest))
	}
	for _, k := range p.kept {
		s.kept = append(s.kept, k.agg.keep(k.field, k.n, k.typ))
	}
	for _, set := range p.sets {
		s.sets = append(s.sets, newTiles(set))
	}
	return s
}

// Reset forgets everything.
func (s *State) Reset() {
	s.newest, s.some = featurestore.Position{}, false
	for _, k := range s.kept {
		k.reset()
	}
	for _, t := range s.sets {
		t.reset()
	}
}

// Fold folds one event. The result does not depend on the order of calls, but for
// the last bits of float sums; folding the same event twice is the caller's error.
// Nothing of the event is kept that is not copied. An event that deletes forgets what
// was folded before it, so that there the order does count.
func (s *State) Fold(e *featurestore.Event) {
	if e.Delete {
		s.Reset()
		return
	}
	newest := !s.some || e.Compare(s.newest) > 0
	if newest {
		s.newest, s.some = e.Position, true
	}
	for _, k := range s.kept {
		k.fold(e, newest)
	}
	for _, t := range s.sets {
		t.fold(e, s.newest.Time)
	}
}

// Empty says whether nothing is known of the entity, so that it has no row.
func (s *State) Empty() bool { return !s.some }

// Newest is the time of the newest event folded, 0 if there is none.
func (s *State) Newest() int64 { return s.newest.Time }

// AppendRow packs the state and appends the row to dst. A state without events has
// no row; packing one is the caller's error.
func (s *State) AppendRow(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, 8)...)
	dst = append(dst, codecVersion)
	dst = binary.LittleEndian.AppendUint64(dst, s.program.fingerprint)
	dst = appendPosition(dst, s.newest)
	for _, k := range s.kept {
		dst = appendSection(dst, k)
	}
	for _, t := range s.sets {
		dst = appendSection(dst, t)
	}
	binary.LittleEndian.PutUint64(dst[start:], xxhash.Sum64(dst[start+8:]))
	return dst
}

type section interface{ append(dst []byte) []byte }

// appendSection appends a section behind its length. Most are under 128 bytes, so
// one byte is kept free for the length and the section moved when that is too few.
func appendSection(dst []byte, s section) []byte {
	start := len(dst)
	dst = s.append(append(dst, 0))
	size := len(dst) - start - 1
	if size < 0x80 {
		dst[start] = byte(size)
		return dst
	}
	var prefix [binary.MaxVarintLen64]byte
	n := binary.PutUvarint(prefix[:], uint64(size))
	dst = append(dst, prefix[:n-1]...)
	copy(dst[start+n:], dst[start+1:start+1+size])
	copy(dst[start:], prefix[:n])
	return dst
}

// ErrOtherDefinition means that a row was written by another definition of the
// view, or by a fold that this program does not know.
var ErrOtherDefinition = errors.New("the row was written for another definition of the view")

// Decode sets the state to a packed row. The state may alias the row until it is
// reset. It fails when the row is damaged or of another definition; the state is
// then empty.
func (s *State) Decode(row []byte) error {
	s.Reset()
	newest, body, err := s.program.open(row)
	if err == nil && Stamp(row) != xxhash.Sum64(row[8:]) {
		err = errors.New("the row's stamp does not match its bytes")
	}
	for i := 0; err == nil && i < s.program.sections(); i++ {
		var packed []byte
		if packed, body, err = nextSection(body); err != nil {
			break
		}
		if i < len(s.kept) {
			err = s.kept[i].decode(packed)
		} else {
			err = s.sets[i-len(s.kept)].decode(packed)
		}
	}
	if err != nil {
		s.Reset()
		return fmt.Errorf("view %q: %w", s.program.view.Name, err)
	}
	s.newest, s.some = newest, true
	return nil
}

// Stamp is the stamp of a row, 0 for a row that is too short to have one.
func Stamp(row []byte) uint64 {
	if len(row) < 8 {
		return 0
	}
	return binary.LittleEndian.Uint64(row)
}

// open checks a row's head.
func (p *Program) open(row []byte) (newest featurestore.Position, body []byte, err error) {
	if err := p.check(row); err != nil {
		return newest, nil, err
	}
	return readPosition(row[headerBytes:])
}

func (p *Program) check(row []byte) error {
	switch {
	case len(row) < headerBytes+8:
		return errTruncated
	case row[8] != codecVersion:
		return fmt.Errorf("%w: codec version %d, not %d", ErrOtherDefinition, row[8], codecVersion)
	case binary.LittleEndian.Uint64(row[9:]) != p.fingerprint:
		return ErrOtherDefinition
	}
	return nil
}

// newestTime is the event time of a row's newest event; the row was checked.
func newestTime(row []byte) int64 { return int64(binary.LittleEndian.Uint64(row[headerBytes:])) }

// sectionsOf are a checked row's sections: what follows the newest position, of which a
// reader needs the time only.
func sectionsOf(row []byte) ([]byte, error) {
	at := headerBytes + 8
	for range 3 { // partition, offset, index
		for at < len(row) && row[at] >= 0x80 {
			at++
		}
		at++
	}
	if at > len(row) {
		return nil, errTruncated
	}
	return row[at:], nil
}

func nextSection(body []byte) (packed, rest []byte, err error) {
	n, body, err := uvarint(body)
	if err != nil || n > uint64(len(body)) {
		return nil, nil, errTruncated
	}
	return body[:n], body[n:], nil
}
