package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/onehop/onehop/featurestore"
	featureplan "github.com/onehop/onehop/featurestore/plan"
	"github.com/onehop/onehop/featurestore/training"
)

// trainingSummary says what was done.
type trainingSummary struct {
	Namespace string          `json:"namespace"`
	Version   int             `json:"version"` // of the definitions
	Rows      int64           `json:"rows"`
	Features  int             `json:"features"`
	Views     []*trainingView `json:"views"`
	Seconds   float64         `json:"seconds"`
}

// trainingView says how a view was joined.
type trainingView struct {
	View string `json:"view"`
	// Ways are "lookup", "walk" or both, in different chunks; none for a spine without rows.
	Ways   []string `json:"ways"`
	Events int64    `json:"events"` // read
}

func newTrainingSummary(catalog *featurestore.Catalog, p *featureplan.Plan) *trainingSummary {
	s := &trainingSummary{Namespace: catalog.Namespace, Version: catalog.Version, Features: len(p.Columns)}
	for i := range p.Views {
		s.Views = append(s.Views, &trainingView{View: p.Views[i].Name, Ways: []string{}})
	}
	return s
}

// add adds a chunk, whose reports are in the order of the plan's views.
func (s *trainingSummary) add(rows int64, views []training.Report) {
	s.Rows += rows
	for i, r := range views {
		if !slices.Contains(s.Views[i].Ways, r.Way) {
			s.Views[i].Ways = append(s.Views[i].Ways, r.Way)
		}
		s.Views[i].Events += r.Events
	}
}

func (s *trainingSummary) write(w io.Writer) {
	fmt.Fprintf(w, "%d rows, %d features of version %d of namespace %s, in %.1f s\n", s.Rows, s.Features, s.Version, s.Namespace, s.Seconds)
	for _, v := range s.Views {
		if len(v.Ways) > 0 {
			fmt.Fprintf(w, "  %s by %s: %d events read\n", v.View, strings.Join(v.Ways, " and "), v.Events)
		}
	}
}
