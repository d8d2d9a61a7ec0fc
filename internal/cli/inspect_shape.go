package cli

import (
	"time"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/fold"
	"github.com/onehop/onehop/featurestore/online"
)

// inspection is what inspect prints, as JSON and, written out, for people.
type inspection struct {
	Namespace string           `json:"namespace"`
	Version   int              `json:"definitions_version"`
	Entity    string           `json:"entity"`
	Key       string           `json:"key"`
	Bucket    int              `json:"bucket"`
	Views     []viewInspection `json:"views"`
}

// viewInspection is the row of one view.
type viewInspection struct {
	View       string `json:"view"`
	Generation int    `json:"generation"`
	RedisKey   string `json:"redis_key"`
	// Marker is "live", "filling" or "lost".
	Marker     string           `json:"marker"`
	Watermarks map[string]int64 `json:"watermarks"`
	// RowBytes is the size of the packed row, 0 when there is none.
	RowBytes int `json:"row_bytes"`
	// Expires is how long until Redis forgets the row; empty is never.
	Expires  string            `json:"expires_in,omitempty"`
	ReadTime string            `json:"read_time,omitempty"`
	Problem  string            `json:"problem,omitempty"`
	Newest   *eventInspection  `json:"newest_event,omitempty"`
	Values   []valueInspection `json:"values,omitempty"`
	Kept     []keptInspection  `json:"kept,omitempty"`
	Tiles    []tilesInspection `json:"tiles,omitempty"`
}

// eventInspection is the place of an event.
type eventInspection struct {
	Time      string `json:"time"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Index     int32  `json:"index,omitempty"`
}

// valueInspection is a value as it is served.
type valueInspection struct {
	Name      string `json:"name"`
	Value     any    `json:"value"`
	Status    string `json:"status"`
	EventTime string `json:"event_time,omitempty"`

	text string
}

// keptInspection is what a feature keeps in the row itself, newest first.
type keptInspection struct {
	Feature   string      `json:"feature"`
	Aggregate string      `json:"aggregate"`
	Entries   []keptEntry `json:"entries"`
}

type keptEntry struct {
	Value any              `json:"value"`
	Event *eventInspection `json:"event,omitempty"`

	text string
}

// tilesInspection is the tiles of one hop, oldest first.
type tilesInspection struct {
	Hop      string           `json:"hop"`
	Longest  string           `json:"longest_window"`
	Count    int              `json:"count"`
	Oldest   string           `json:"oldest,omitempty"`
	Newest   string           `json:"newest,omitempty"`
	Partials []string         `json:"partials"`
	Tiles    []tileInspection `json:"tiles,omitempty"`
}

type tileInspection struct {
	Start  string `json:"start,omitempty"`
	Values []any  `json:"values"`

	texts []string
}

func newViewInspection(view *featurestore.View, stored *online.Inspection) *viewInspection {
	out := &viewInspection{
		View: view.Name, Generation: view.Generation, RedisKey: featurestore.KeyText([]byte(stored.Key)),
		Marker: stored.Marker, Watermarks: stored.Watermarks, RowBytes: len(stored.Row),
	}
	if out.Marker == "" {
		out.Marker = "lost"
	}
	if stored.Expires > 0 {
		out.Expires = stored.Expires.Round(time.Second).String()
	}
	return out
}

func (v *viewInspection) setDecoded(row *fold.Inspection) {
	v.Newest = newEventInspection(row.Newest)
	for _, kept := range row.Kept {
		out := keptInspection{Feature: kept.Feature, Aggregate: kept.Aggregate}
		for _, e := range kept.Entries {
			entry := keptEntry{Value: plainValue(e.Value), text: e.Value.String()}
			if e.At != (featurestore.Position{}) {
				entry.Event = newEventInspection(e.At)
			}
			out.Entries = append(out.Entries, entry)
		}
		v.Kept = append(v.Kept, out)
	}
	for _, set := range row.Tiles {
		v.Tiles = append(v.Tiles, newTilesInspection(set))
	}
}

func newTilesInspection(set fold.TilesInspection) tilesInspection {
	out := tilesInspection{Hop: "lifetime", Longest: set.Longest.String(), Count: len(set.Tiles), Partials: set.Partials}
	start := func(fold.TileInspection) string { return "" } // the tile of a lifetime has no beginning
	if set.Hop > 0 {
		out.Hop = featurestore.FormatDuration(set.Hop)
		start = func(tile fold.TileInspection) string { return featurestore.FormatTime(tile.Start) }
	}
	for _, tile := range set.Tiles {
		shown := tileInspection{Start: start(tile)}
		for _, v := range tile.Values {
			shown.Values = append(shown.Values, plainValue(v))
			shown.texts = append(shown.texts, v.String())
		}
		out.Tiles = append(out.Tiles, shown)
	}
	if n := len(out.Tiles); n > 0 {
		out.Oldest, out.Newest = out.Tiles[0].Start, out.Tiles[n-1].Start
	}
	return out
}

func newEventInspection(p featurestore.Position) *eventInspection {
	return &eventInspection{Time: featurestore.FormatTime(p.Time), Partition: p.Partition, Offset: p.Offset, Index: p.Index}
}

func newValueInspection(name string, cell *featurestore.Cell) valueInspection {
	out := valueInspection{Name: name, Value: plainValue(cell.Value), Status: cell.Status.String(), text: cell.Value.String()}
	if cell.EventTime > 0 {
		out.EventTime = featurestore.FormatTime(cell.EventTime)
	}
	return out
}

// plainValue is a value as encoding/json writes it: bytes as base64.
func plainValue(v featurestore.Value) any {
	switch {
	case v.IsNull():
		return nil
	case v.Type.IsList():
		list := make([]any, len(v.List))
		for i := range v.List {
			list[i] = plainValue(v.List[i])
		}
		return list
	}
	switch v.Type {
	case featurestore.Int64:
		return v.Int()
	case featurestore.Float64:
		if f, ok := finite(v.Float()); ok {
			return f
		}
		return v.String() // JSON has no infinities
	case featurestore.Bool:
		return v.Bool()
	case featurestore.String:
		return string(v.Bytes)
	default:
		return v.Bytes
	}
}
