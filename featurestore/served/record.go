package served

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/onehop/onehop/featurestore"
)

// Record is one vector that was served.
type Record struct {
	// Kind is [Service] or [Model], Name which one, and Version that of the model, 0 for a
	// service.
	Kind, Name string
	Version    int64
	// Definitions is the version of the definitions by which it was served.
	Definitions int64
	// RequestID is the caller's, or one made up; Row counts the vectors of the request from 0.
	RequestID string
	Row       int64
	// ReadTime is the clock of the request, in microseconds. Every row was read then, or just
	// after its newest event where that is later.
	ReadTime int64
	// Entities are the entities that it is of.
	Entities []Entity
	// Request are the request fields that were given.
	Request []Field
	// Features are the values served, as they were read: without a model's defaults.
	Features []Feature
	// Rows are the rows that they were read from, one for each view.
	Rows []Row
	// Score is the model's; nil where there is none.
	Score *float64
}

// Entity is an entity by its encoded key.
type Entity struct {
	Name string
	Key  []byte
}

// Field is a request field, its value in JSON as [Feature] has it.
type Field struct {
	Name, JSON string
}

// Feature is one value of a vector.
type Feature struct {
	// Name is view.column.
	Name   string
	Status featurestore.Status
	// EventTime is the time of the newest event behind the value, 0 for none.
	EventTime int64
	// JSON is the value: a number, true, false, null, a text, bytes as a text in base64, or a
	// list of such. See [Value].
	JSON string
}

// Row says which row values were read from.
type Row struct {
	View       string
	Generation int
	// Marks are the watermarks of the row's bucket at the moment of the read.
	Marks []Mark
}

// Mark is the first offset of a partition that a row does not hold.
type Mark struct {
	Topic     featurestore.TopicID
	Partition int32
	Next      int64
}

// MaxBytes bounds a record.
const MaxBytes = featurestore.MaxEventBytes

// wire is a record in JSON; its lists are columns of history.
type wire struct {
	Kind          string   `json:"kind"`
	Name          string   `json:"name"`
	Version       int64    `json:"version"`
	Definitions   int64    `json:"definitions"`
	RequestID     string   `json:"request_id"`
	Row           int64    `json:"row"`
	ReadTime      int64    `json:"read_time"`
	Entities      []string `json:"entities"`
	Request       []string `json:"request"`
	RequestValues []string `json:"request_values"`
	Features      []string `json:"features"`
	Values        []string `json:"values"`
	Statuses      []string `json:"statuses"`
	EventTimes    []int64  `json:"event_times"`
	Rows          []string `json:"rows"`
	Score         *float64 `json:"score,omitempty"`
}

// Encode is the record as the value of a Kafka record. It fails when that is more than
// [MaxBytes].
func (r *Record) Encode() ([]byte, error) {
	w := wire{
		Kind: r.Kind, Name: r.Name, Version: r.Version, Definitions: r.Definitions, RequestID: r.RequestID, Row: r.Row, ReadTime: r.ReadTime,
	}
	if r.Score != nil && !math.IsNaN(*r.Score) && !math.IsInf(*r.Score, 0) {
		w.Score = r.Score
	}
	for _, e := range r.Entities {
		w.Entities = append(w.Entities, EntityText(e.Name, e.Key))
	}
	for _, f := range r.Request {
		w.Request, w.RequestValues = append(w.Request, f.Name), append(w.RequestValues, f.JSON)
	}
	for _, f := range r.Features {
		w.Features, w.Values = append(w.Features, f.Name), append(w.Values, f.JSON)
		w.Statuses, w.EventTimes = append(w.Statuses, f.Status.String()), append(w.EventTimes, f.EventTime)
	}
	for i := range r.Rows {
		w.Rows = append(w.Rows, r.Rows[i].text())
	}
	value, err := json.Marshal(&w)
	if err == nil && len(value) > MaxBytes {
		err = fmt.Errorf("a vector of %s %q takes %d bytes in the serving log; at most %d are allowed", r.Kind, r.Name, len(value), MaxBytes)
	}
	return value, err
}

// Decode reads a record from an event of [Source]. It shares no memory with the event.
func Decode(e *featurestore.Event) (*Record, error) {
	if len(e.Values) != fields {
		return nil, errors.New("an event of the serving log has other fields")
	}
	text := func(f int) string { return string(e.Values[f].Bytes) }
	r := &Record{
		Kind: text(fieldKind), Name: text(fieldName), Version: e.Values[fieldVersion].Int(), Definitions: e.Values[fieldDefinitions].Int(),
		RequestID: text(fieldRequestID), Row: e.Values[fieldRow].Int(), ReadTime: e.Time,
	}
	if score := e.Values[fieldScore]; !score.IsNull() {
		x := score.Float()
		r.Score = &x
	}
	return r, errors.Join(r.decodeEntities(e), r.decodeRequest(e), r.decodeFeatures(e), r.decodeRows(e))
}

func (r *Record) decodeEntities(e *featurestore.Event) error {
	for _, v := range e.Values[fieldEntities].List {
		name, key, err := parseEntity(string(v.Bytes))
		if err != nil {
			return err
		}
		r.Entities = append(r.Entities, Entity{Name: name, Key: key})
	}
	return nil
}

var errLengths = errors.New("lists of the serving log that belong together are of different length")

func (r *Record) decodeRequest(e *featurestore.Event) error {
	names, values := e.Values[fieldRequest].List, e.Values[fieldRequestValues].List
	if len(names) != len(values) {
		return errLengths
	}
	for i := range names {
		r.Request = append(r.Request, Field{Name: string(names[i].Bytes), JSON: string(values[i].Bytes)})
	}
	return nil
}

func (r *Record) decodeFeatures(e *featurestore.Event) error {
	names, values := e.Values[fieldFeatures].List, e.Values[fieldValues].List
	statuses, times := e.Values[fieldStatuses].List, e.Values[fieldEventTimes].List
	if len(values) != len(names) || len(statuses) != len(names) || len(times) != len(names) {
		return errLengths
	}
	for i := range names {
		status, err := featurestore.ParseStatus(string(statuses[i].Bytes))
		if err != nil {
			return err
		}
		r.Features = append(r.Features, Feature{
			Name: string(names[i].Bytes), Status: status, EventTime: times[i].Int(), JSON: string(values[i].Bytes),
		})
	}
	return nil
}

func (r *Record) decodeRows(e *featurestore.Event) error {
	for _, v := range e.Values[fieldRows].List {
		row, err := parseRow(string(v.Bytes))
		if err != nil {
			return err
		}
		r.Rows = append(r.Rows, row)
	}
	return nil
}

const base64Prefix = "base64:"

// EntityText is an entity as the log names it: entity=key, with the key as it is when it is
// printable ASCII, and else in base64.
func EntityText(name string, key []byte) string {
	text := featurestore.KeyText(key)
	if text == string(key) && strings.HasPrefix(text, base64Prefix) { // which it is not
		text = base64Prefix + base64.StdEncoding.EncodeToString(key)
	}
	return name + "=" + text
}

func parseEntity(text string) (name string, key []byte, err error) {
	name, written, ok := strings.Cut(text, "=")
	if !ok {
		return "", nil, fmt.Errorf("%q is no entity of the serving log", text)
	}
	encoded, is := strings.CutPrefix(written, base64Prefix)
	if !is {
		return name, []byte(written), nil
	}
	key, err = base64.StdEncoding.DecodeString(encoded)
	return name, key, err
}
