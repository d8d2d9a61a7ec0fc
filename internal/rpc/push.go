package rpc

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/stream"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
)

// PushEvents validates events as ingest will, writes them to the source's topic, and
// answers when Kafka has them. If one event is not acceptable, none is written.
//
// Events are keyed by the entity key of the first view of the source, so that the
// events of an entity stay in order.
func (f *Features) PushEvents(ctx context.Context, req *onehopv1.PushEventsRequest) (*onehopv1.PushEventsResponse, error) {
	d, err := f.Definitions.Get()
	if err != nil {
		return nil, err
	}
	source := d.Catalog.Source(req.GetSource())
	switch {
	case source == nil:
		return nil, featurestore.Errorf(featurestore.Unknown, "there is no source %q", shortName(req.GetSource()))
	case source.Batch != nil:
		return nil, featurestore.Errorf(featurestore.Invalid,
			"source %q takes no pushed events: it is a batch source, whose rows onehop materialize brings from %s", source.Name, source.Batch)
	case source.Name == featurestore.ServedSource:
		return nil, featurestore.Errorf(featurestore.Invalid, "source %q is the serving log, which the services alone write", source.Name)
	case !source.Pushable():
		return nil, featurestore.Errorf(featurestore.Invalid,
			"source %q takes no pushed events: its records are %s, or have fields in their keys or headers; produce them to topic %q", source.Name, source.Format, source.Topic)
	case f.Producer == nil:
		return nil, featurestore.Errorf(featurestore.Unavailable, "this service was started without Kafka and takes no events")
	}
	keys, values, err := f.checkEvents(ctx, d.Catalog, source, req.GetEvents())
	if err != nil {
		return nil, err
	}
	places, err := f.Producer.Push(ctx, source.Topic, keys, values)
	if err != nil {
		return nil, err
	}
	res := &onehopv1.PushEventsResponse{Positions: make([]*onehopv1.EventPosition, len(places))}
	for i, p := range places {
		res.Positions[i] = &onehopv1.EventPosition{Partition: p.Partition, Offset: p.Offset}
	}
	return res, nil
}

func (f *Features) checkEvents(ctx context.Context, c *featurestore.Catalog, source *featurestore.Source, events []string) (keys, values [][]byte, err error) {
	decoder := stream.NewDecoder([]stream.Version{{Source: source}}, nil)
	var entity *featurestore.Entity
	var join []int
	if views := c.ViewsOf(source.Name); len(views) > 0 {
		entity = c.Entity(views[0].Entity)
		for _, field := range views[0].JoinFields {
			join = append(join, source.Field(field))
		}
	}
	now := f.Now()
	keys, values = make([][]byte, len(events)), make([][]byte, len(events))
	for i, text := range events {
		values[i] = []byte(text)
		decoded, err := decoder.Decode(ctx, &kgo.Record{Value: values[i], Timestamp: now}, nil)
		if err != nil {
			return nil, nil, featurestore.Errorf(featurestore.Invalid, "events[%d]: %v", i, err)
		}
		if entity == nil || len(decoded) == 0 {
			continue
		}
		event := decoded[0] // of several, the first says where they go
		parts := make([]featurestore.Value, len(join))
		for j, field := range join {
			parts[j] = event.Values[field]
		}
		if keys[i], err = entity.AppendKey(nil, parts); err != nil {
			return nil, nil, featurestore.Errorf(featurestore.Invalid, "events[%d]: %v", i, err)
		}
	}
	return keys, values, nil
}
