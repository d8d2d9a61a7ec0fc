package fold

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cespare/xxhash/v2"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/expr"
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
	filters []*expr.Evaluation
	pass    []bool // which filters the event being folded passes
	edges   []*edge
	kept    []kept
	sets    []*tiles
	dedupe  *dedupe // nil for none
	// sections are all of the above that are packed, in the order of the row.
	sections []section
}

// section is one section of a row.
type section interface {
	reset()
	append(dst []byte) []byte
	decode(src []byte) error
}

// NewState is the state of an entity of which nothing is known.
func (p *Program) NewState() *State {
	s := &State{program: p, pass: make([]bool, len(p.filters))}
	for _, f := range p.filters {
		s.filters = append(s.filters, f.Evaluate())
	}
	for _, spec := range p.edges {
		s.edges = append(s.edges, newEdge(spec))
		s.sections = append(s.sections, s.edges[len(s.edges)-1])
	}
	for _, k := range p.kept {
		s.kept = append(s.kept, k.new())
		s.sections = append(s.sections, s.kept[len(s.kept)-1])
	}
	for _, set := range p.sets {
		s.sets = append(s.sets, newTiles(set))
		s.sections = append(s.sections, s.sets[len(s.sets)-1])
	}
	if p.dedupe != nil {
		s.dedupe = &dedupe{field: p.dedupe.field, last: p.dedupe.last}
		s.sections = append(s.sections, s.dedupe)
	}
	return s
}

// Reset forgets everything.
func (s *State) Reset() {
	s.newest, s.some = featurestore.Position{}, false
	for _, section := range s.sections {
		section.reset()
	}
}

// Outcome says what became of an event.
type Outcome uint8

// The outcomes.
const (
	// Folded events are in every window that covers them.
	Folded Outcome = iota
	// Late events came after a tile of theirs had left the row, and are in the other ones.
	Late
	// Duplicate events had been folded already and changed nothing.
	Duplicate
)

// Fold folds one event. The result does not depend on the order of calls, but for
// the last bits of float sums and, where the view has dedupe, for the order within a
// partition, which must be that of offsets; folding the same event twice is the caller's
// error. Nothing of the event is kept that is not copied. An event that deletes forgets what
// was folded before it, so that there the order does count.
func (s *State) Fold(e *featurestore.Event) Outcome {
	if e.Delete {
		s.Reset()
		return Folded
	}
	if s.dedupe != nil && s.dedupe.seen(e) {
		return Duplicate
	}
	if !s.some || e.Compare(s.newest) > 0 {
		s.newest, s.some = e.Position, true
	}
	for i, f := range s.filters {
		s.pass[i] = f.Passes(e.Values)
	}
	for _, l := range s.edges {
		if passes(s.pass, l.spec.filter) {
			l.fold(e)
		}
	}
	for i, k := range s.kept {
		if passes(s.pass, s.program.kept[i].filter) {
			k.fold(e)
		}
	}
	outcome := Folded
	for _, t := range s.sets {
		if t.fold(e, s.newest.Time, s.pass) {
			outcome = Late
		}
	}
	return outcome
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
	for _, section := range s.sections {
		dst = appendSection(dst, section)
	}
	binary.LittleEndian.PutUint64(dst[start:], xxhash.Sum64(dst[start+8:]))
	return dst
}

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
	for i := 0; err == nil && i < len(s.sections); i++ {
		var packed []byte
		if packed, body, err = nextSection(body); err == nil {
			err = s.sections[i].decode(packed)
		}
	}
	if err != nil {
		s.Reset()
		return fmt.Errorf("view %q: %w", s.program.view.Name, err)
	}
	s.newest, s.some = newest, true
	for _, l := range s.edges {
		if l.spec.isNewest() {
			l.at = newest
		}
	}
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
