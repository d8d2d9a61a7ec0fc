package dev

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/schemas/onehop/v1/onehopv1connect"
)

// write tells people where everything is and what to do next.
func (e *environment) write(w io.Writer) {
	var b strings.Builder
	fmt.Fprintln(&b, "\nOnehop is running.")
	fmt.Fprintln(&b)
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, part := range e.stack.Parts {
		row(table, part.Name, part.Addr, part.Kind)
	}
	for _, name := range slices.Sorted(maps.Keys(e.addresses.Admin)) {
		row(table, name, orDash(e.addresses.Public[name]), "admin "+e.addresses.Admin[name])
	}
	_ = table.Flush() // into memory
	fmt.Fprintln(&b)
	if e.definitions == nil {
		fmt.Fprintf(&b, "No definitions are applied from here; namespace %s is followed.\n", e.namespace)
	} else {
		fmt.Fprintf(&b, "Definitions: %s, namespace %s, version %d; applied again when a file changes.\n",
			e.definitions.path, e.namespace, e.definitions.version)
	}
	e.writeExamples(&b)
	e.writeExports(&b)
	fmt.Fprintln(&b, "\nCtrl-C stops everything.")
	fmt.Fprint(w, b.String())
}

// writeExports prints what other commands need. A URL that was given may hold a
// password, and is known anyway.
func (e *environment) writeExports(b *strings.Builder) {
	exports := "export ONEHOP_NAMESPACE=" + e.namespace + " ONEHOP_KAFKA=" + strings.Join(e.addresses.Kafka, ",")
	if e.config.Redis == "" {
		exports += " ONEHOP_REDIS=" + quoteShell(e.addresses.Redis)
	}
	if e.config.Postgres == "" {
		exports += " ONEHOP_POSTGRES=" + quoteShell(e.addresses.Postgres)
	}
	if infer := e.addresses.Public["infer"]; infer != "" {
		exports += " ONEHOP_INFER=" + quoteShell(infer)
	}
	fmt.Fprintf(b, "\nFor onehop inspect, models and others in another terminal:\n\n  %s\n", exports)
}

// writeExamples prints calls that work as they are.
func (e *environment) writeExamples(b *strings.Builder) {
	serve := e.addresses.Public["serve"]
	if e.definitions == nil || serve == "" || len(e.definitions.catalog.Views) == 0 {
		return
	}
	catalog := e.definitions.catalog
	view := &catalog.Views[0]
	read := curl(serve+onehopv1connect.FeatureServiceGetOnlineFeaturesProcedure, exampleRead(catalog.Entity(view.Entity), view))
	if source := catalog.Source(view.Source); source.Pushable() {
		push := curl(serve+onehopv1connect.FeatureServicePushEventsProcedure, examplePush(source, time.Now()))
		fmt.Fprintf(b, "\nPush an event, and read what follows from it:\n\n  %s\n  %s\n", push, read)
	} else if source.Batch != nil {
		fmt.Fprintf(b, "\nWrite the rows of %s to topic %s by onehop materialize %s, and read what follows from them:\n\n  %s\n", source.Batch, source.Topic, source.Name, read)
	} else {
		fmt.Fprintf(b, "\nProduce a record to topic %s, and read what follows from it:\n\n  %s\n", source.Topic, read)
	}
	infer := e.addresses.Public["infer"]
	if infer == "" || len(catalog.Models) == 0 {
		return
	}
	fmt.Fprintf(b, "\nScore candidates, when the model is in %s:\n\n  %s\n", e.config.Models,
		curl(infer+onehopv1connect.InferenceServiceGetFeaturesAndPredictProcedure, examplePredict(catalog, &catalog.Models[0])))
}

// examplePredict is a request of GetFeaturesAndPredict for two candidates.
func examplePredict(catalog *featurestore.Catalog, model *featurestore.Model) any {
	entities, candidates, fields := map[string]any{}, map[string]any{}, map[string]any{}
	for _, name := range catalog.EntitiesOf(catalog.Service(model.Service).Columns) {
		for _, key := range catalog.Entity(name).Keys {
			if name == model.Candidates {
				candidates[key.Name] = exampleValues(key.Type, 2)
			} else {
				entities[key.Name] = exampleValues(key.Type, 1)
			}
		}
	}
	for _, field := range model.Request {
		fields[field.Name] = exampleValues(field.Type, 1)
	}
	return map[string]any{"model": model.Name, "entities": entities, "candidates": candidates, "request": fields}
}

// exampleValues is a column of n values in the wire's form.
func exampleValues(t featurestore.Type, n int) any {
	name := t.String()
	if t == featurestore.Float64 {
		name = "double"
	}
	values := make([]any, n)
	for i := range values {
		values[i] = exampleValue(t)
		if number, ok := values[i].(int); ok {
			values[i] = number + i
		}
	}
	return map[string]any{name: values}
}

// examplePush is a request of PushEvents with one event.
func examplePush(source *featurestore.Source, now time.Time) any {
	event, element := map[string]any{}, any(map[string]any{})
	put := func(steps []string, value any) {
		in := event
		if source.OfElement(steps) {
			steps = steps[strings.Count(source.Explode, ".")+1:]
			in, _ = element.(map[string]any)
		}
		if len(steps) == 0 {
			element = value
			return
		}
		putAt(in, steps, value)
	}
	for i := range source.Fields {
		put(source.Fields[i].Steps(), exampleValue(source.Fields[i].Type))
	}
	if steps := source.TimeSteps(); steps != nil {
		put(steps, exampleTime(source.TimeUnit, now))
	}
	if source.Explode != "" {
		putAt(event, strings.Split(source.Explode, "."), []any{element})
	}
	text, err := json.Marshal(event)
	if err != nil { // plain values always encode
		panic(err)
	}
	return map[string]any{"source": source.Name, "events": []string{string(text)}}
}

// putAt sets a value at a path.
func putAt(in map[string]any, steps []string, value any) {
	for _, name := range steps[:len(steps)-1] {
		below, ok := in[name].(map[string]any)
		if !ok {
			below = map[string]any{}
			in[name] = below
		}
		in = below
	}
	in[steps[len(steps)-1]] = value
}

func exampleTime(unit featurestore.TimeUnit, now time.Time) any {
	switch unit {
	case featurestore.Seconds:
		return now.Unix()
	case featurestore.Milliseconds:
		return now.UnixMilli()
	case featurestore.RFC3339:
		return now.UTC().Format(time.RFC3339Nano)
	default:
		return now.UnixMicro()
	}
}

// exampleRead is a request of GetOnlineFeatures for the entity of that event.
func exampleRead(entity *featurestore.Entity, view *featurestore.View) any {
	keys := map[string]any{}
	for _, key := range entity.Keys {
		keys[key.Name] = exampleValues(key.Type, 1)
	}
	return map[string]any{"features": []string{view.Name + ".*"}, "entities": keys}
}

// exampleValue is a value of a type as JSON has it.
func exampleValue(t featurestore.Type) any {
	switch {
	case t.IsList():
		return []any{exampleValue(t.Elem())}
	case t == featurestore.Int64:
		return 1
	case t == featurestore.Float64:
		return 4.5
	case t == featurestore.Bool:
		return true
	case t == featurestore.Bytes:
		return []byte("a")
	default:
		return "a"
	}
}

// curl is a command line that calls a procedure.
func curl(url string, request any) string {
	body, err := json.Marshal(request)
	if err != nil { // plain values always encode
		panic(err)
	}
	return "curl -s " + url + " -H 'Content-Type: application/json' -d " + quoteShell(string(body))
}

// quoteShell makes one word of a text for a POSIX shell.
func quoteShell(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

func row(w io.Writer, name, address, kind string) {
	fmt.Fprintf(w, "  %s\t%s\t%s\n", name, address, kind)
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
