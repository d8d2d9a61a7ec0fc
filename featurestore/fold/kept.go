package fold

import "github.com/onehop/onehop/featurestore"

// kept is the state of one kept aggregate in a row being folded.
type kept interface {
	section
	// fold folds an event. State that outlives the event is copied.
	fold(e *featurestore.Event)
	// inspect shows what is kept, newest first.
	inspect() []KeptEntry
}
