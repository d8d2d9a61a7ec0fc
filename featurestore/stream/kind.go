package stream

import (
	"errors"

	"github.com/onehop/onehop/featurestore"
)

// Kind groups the reasons for which records are refused, for counters: there are a few of
// them, whatever the records say.
type Kind string

// The kinds.
const (
	Malformed Kind = "malformed" // the value is not in the source's format
	WrongType Kind = "type"      // a value is not of its field's type
	Missing   Kind = "missing"   // a required field, or the event time, is not there
	TooOld    Kind = "too_old"   // the event time is too long before the record's timestamp
	TooNew    Kind = "too_new"   // or too long after it
	Tombstone Kind = "tombstone" // no value, where the source does not take that
	BadKey    Kind = "key"       // the record's key, or a part of an entity's key
	BadHeader Kind = "header"    // a header that is a field, or is ours
	BadSchema Kind = "schema"    // the record's schema is not known, or not usable
	TooLarge  Kind = "too_large" // the record, or the array in it
)

// refusal is a reason of a kind that is not [WrongType].
type refusal struct {
	kind Kind
	error
}

func (r *refusal) Unwrap() error { return r.error }

// because makes err a reason of a kind.
func (k Kind) because(err error) error { return &refusal{k, err} }

// KindOf is the kind of a [Rejection]'s reason.
func KindOf(reason error) Kind {
	var r *refusal
	if errors.As(reason, &r) {
		return r.kind
	}
	return WrongType
}

// Kinds lists all kinds.
func Kinds() []Kind {
	return []Kind{Malformed, WrongType, Missing, TooOld, TooNew, Tombstone, BadKey, BadHeader, BadSchema, TooLarge}
}

// checkTime checks an event time against the timestamp of its record, in microseconds.
func checkTime(source *featurestore.Source, eventTime, recordTime int64) error {
	err := source.CheckTime(eventTime, recordTime)
	switch {
	case err == nil:
		return nil
	case eventTime > recordTime:
		return TooNew.because(err)
	default:
		return TooOld.because(err)
	}
}
