// Package cases runs examples of what definitions mean: events go in, features are read at a
// time, and what is read is compared with what is expected. A file of cases is YAML that
// people write and read; running it needs no server, and folds and reads with the code that
// the services run.
package cases

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/definition"
)

// maxFileBytes bounds a file of cases.
const maxFileBytes = 4 << 20

// Suite is a file of cases and the definitions that they are of.
type Suite struct {
	// Name is the file's.
	Name    string
	Catalog *featurestore.Catalog
	Cases   []Case
}

// Case is one example.
type Case struct {
	line   int
	Name   string  `yaml:"name"`
	Events []Event `yaml:"events"`
	Reads  []Read  `yaml:"reads"`
	// Rejected lists the events that go to the dead-letter topic: all of them.
	Rejected []Rejected `yaml:"rejected"`
	// Counts says, for views, what became of events: "folded", "late", "duplicate".
	Counts counts `yaml:"counts"`
}

// Event is one Kafka record.
type Event struct {
	line int
	// Source may be left out where there is one.
	Source string `yaml:"source"`
	// Time is put into the record where the source has its event time.
	Time moment `yaml:"time"`
	// At is the record's timestamp; by default the event time.
	At        moment `yaml:"at"`
	Partition int32  `yaml:"partition"`
	// Key and Headers are those of the record.
	Key     string            `yaml:"key"`
	Headers map[string]string `yaml:"headers"`
	// Value is the record as JSON, whatever the source's format is; none is a tombstone.
	Value map[string]any `yaml:"value"`
}

// Read is a read of features at a time.
type Read struct {
	line int
	At   moment `yaml:"at"`
	// Of are the entities: their join keys by name.
	Of map[string]any `yaml:"of"`
	// Request are the request fields from which on-demand features are computed, by name.
	Request map[string]any `yaml:"request"`
	// Expect says what columns are, by their names: view.column.
	Expect expectations `yaml:"expect"`
}

// Rejected is an event that is not accepted.
type Rejected struct {
	line int
	// Event counts from 1.
	Event int `yaml:"event"`
	// Reason is a part of what is said about it.
	Reason string `yaml:"reason"`
}

// expected is what one column must be: a value, which is then PRESENT; null, which is NULL;
// or a mapping with a status and perhaps a value.
type expected struct {
	column string
	line   int
	status string
	value  any // nil for none
}

// expectations are in the order of the file.
type expectations []expected

// count is how many events of a view came to an outcome.
type count struct {
	line          int
	view, outcome string
	events        int
}

// counts are in the order of the file.
type counts []count

// Load reads a file of cases and the definitions that it names.
func Load(name string) (*Suite, error) {
	s := &Suite{Name: name}
	var err error
	if s.Catalog, err = LoadFile(name, &s.Cases); err != nil {
		return nil, err
	}
	return s, nil
}

// LoadFile reads a file of cases of any kind: the definitions, and the list "cases", into
// what list points to.
func LoadFile[Case any](name string, list *[]Case) (*featurestore.Catalog, error) {
	file, err := os.Open(name) //nolint:gosec // the user names it
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	text, err := io.ReadAll(io.LimitReader(file, maxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	if len(text) > maxFileBytes {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, maxFileBytes)
	}
	return parse(name, text, list)
}

func parse[Case any](name string, text []byte, list *[]Case) (*featurestore.Catalog, error) {
	var file struct {
		Definitions ast.Node `yaml:"definitions"`
		Cases       []Case   `yaml:"cases"`
	}
	if err := definition.CheckYAML(name, text); err != nil {
		return nil, err
	}
	body, err := document(text)
	if err != nil {
		return nil, located(name, err)
	}
	if body == nil {
		return nil, fmt.Errorf("%s:1: the file is empty; it must have \"definitions\" and \"cases\": onehop test --help shows how", name)
	}
	switch err := yaml.NodeToValue(body, &file, yaml.Strict()); {
	case err != nil:
		return nil, located(name, err)
	case len(file.Cases) == 0:
		return nil, fmt.Errorf("%s:1: the file has no cases: write them under \"cases\"", name)
	}
	*list = file.Cases
	return definitions(name, text, file.Definitions)
}

// definitions loads the paths that are named, or checks what is written there itself.
func definitions(name string, text []byte, node ast.Node) (*featurestore.Catalog, error) {
	var paths []string
	switch n := node.(type) {
	case nil:
		return nil, fmt.Errorf("%s:1: \"definitions\" is missing: name the files, or write the definitions there", name)
	case ast.MapNode:
		return definition.Parse([]definition.File{{Name: name, Text: standalone(text, node)}})
	case *ast.SequenceNode:
		if err := yaml.NodeToValue(n, &paths); err != nil {
			return nil, located(name, err)
		}
	default:
		paths = make([]string, 1)
		if err := yaml.NodeToValue(n, &paths[0]); err != nil {
			return nil, located(name, err)
		}
	}
	for i, path := range paths {
		if !filepath.IsAbs(path) {
			paths[i] = filepath.Join(filepath.Dir(name), path)
		}
	}
	if len(paths) == 0 {
		return nil, located(name, mistake(node, "\"definitions\" names no file"))
	}
	catalog, err := definition.Load(paths...)
	var inThem *definition.Errors
	if err != nil && !errors.As(err, &inThem) {
		err = located(name, mistake(node, "definitions: %v", err))
	}
	return catalog, err
}

// between is the text from one place to the end of a brace, at the place where it stands.
func between(text []byte, from, to *token.Position) []byte {
	lines := bytes.Split(text, []byte("\n"))
	for i := range lines {
		runes := []rune(string(lines[i]))
		if i+1 == to.Line && to.Column < len(runes) {
			runes = runes[:to.Column]
		}
		if i+1 == from.Line {
			copy(runes, []rune(strings.Repeat(" ", from.Column-1)))
		}
		if i+1 < from.Line || i+1 > to.Line {
			runes = nil
		}
		lines[i] = []byte(string(runes))
	}
	return bytes.Join(lines, []byte("\n"))
}

// standalone is the text of definitions that stand in a file of cases, on the lines on which they
// stand, so that mistakes are told where they are.
func standalone(text []byte, node ast.Node) []byte {
	lines := bytes.Split(text, []byte("\n"))
	inside, found := false, false
	for i, line := range lines {
		if top := len(line) > 0 && !strings.ContainsRune(" \t#\r", rune(line[0])); top {
			inside = bytes.Equal(bytes.TrimSpace(line), []byte("definitions:"))
			found = found || inside
			lines[i] = nil
		}
		if !inside {
			lines[i] = nil
		}
	}
	if m, braces := node.(*ast.MappingNode); !found && braces {
		return between(text, m.Start.Position, m.End.Position)
	}
	return bytes.Join(lines, []byte("\n"))
}
