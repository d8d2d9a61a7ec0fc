package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/registry"
	"github.com/onehop/onehop/featurestore/stream"
	"github.com/onehop/onehop/internal/config"
)

// dlqCommand is for dead letters.
type dlqCommand struct {
	List  dlqListCommand  `cmd:"" help:"List the dead letters of a source."`
	Show  dlqShowCommand  `cmd:"" help:"Show one dead letter: what it holds, and whether it would be accepted now."`
	Retry dlqRetryCommand `cmd:"" help:"Put records back on their topic, so that they are folded exactly once."`
}

// Help is printed by --help.
func (*dlqCommand) Help() string {
	return "An event that cannot be decoded, or breaks its types or time bounds, is a dead letter, with the reason, and the " +
		"stream goes on. Mend what refused it: apply definitions that accept it, or register the schema that was missing. " +
		"Then put it back.\n\n" +
		"Example:\n\n    onehop dlq list ratings --by-reason\n    onehop dlq show ratings 0/4711\n" +
		"    onehop apply definitions\n    onehop dlq retry ratings --reason '\"rating\" is missing' --dry-run"
}

// dlqFlags say whose dead letters are meant.
type dlqFlags struct {
	Source                string `arg:"" help:"Name of the source."`
	Namespace             string `env:"ONEHOP_NAMESPACE" default:"default" help:"Namespace of the definitions."`
	config.Kafka          `embed:""`
	postgresFlags         `embed:""`
	config.SchemaRegistry `embed:""`
}

// Check returns everything that is wrong with the flags.
func (f *dlqFlags) Check() error {
	return errors.Join(f.Kafka.Check(), f.postgresFlags.Check(), f.SchemaRegistry.Check())
}

// letterBox is the dead letters of a source, and what decides about them now.
type letterBox struct {
	*stream.Letters
	source      *featurestore.Source
	version     int   // of the definitions
	effectiveAt int64 // when that version is in force, in microseconds
	decoder     *stream.Decoder
	schemas     *stream.Schemas
}

// open connects. The caller closes the box.
func (f *dlqFlags) open(ctx context.Context) (*letterBox, error) {
	pool, err := f.postgresFlags.open(ctx)
	if err != nil {
		return nil, err
	}
	defer pool.Close()
	newest, err := newest(ctx, pool, f.Namespace)
	if err != nil {
		return nil, err
	}
	source := newest.Source(f.Source)
	if source == nil {
		var names []string
		for _, s := range newest.Sources {
			names = append(names, s.Name)
		}
		return nil, fmt.Errorf("namespace %s has no source %q; it has %s", newest.Namespace, f.Source, strings.Join(names, ", "))
	}
	versions, err := registry.New(pool, f.Namespace).Versions(ctx)
	if err != nil {
		return nil, err
	}
	box := &letterBox{source: source, version: newest.Version, effectiveAt: newest.EffectiveAt}
	if f.SchemaRegistry.SchemaRegistry != "" {
		user, password := f.Credentials()
		if box.schemas, err = stream.NewSchemas(f.SchemaRegistry.SchemaRegistry, user, password); err != nil {
			return nil, err
		}
	}
	box.decoder = stream.NewDecoder(stream.Versions(versions, source.Name), box.schemas)
	box.Letters, err = connectLetters(ctx, source, f.Kafka.Kafka)
	if err != nil {
		box.closeSchemas()
		return nil, err
	}
	return box, nil
}

func connectLetters(ctx context.Context, source *featurestore.Source, brokers []string) (*stream.Letters, error) {
	options := []kgo.Opt{kgo.SeedBrokers(brokers...), kgo.ClientID("onehop-dlq")}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return nil, fmt.Errorf("the Kafka client: %w", err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if err := client.Ping(ctx); err != nil {
		return nil, fmt.Errorf("cannot use Kafka: is it running, and does --kafka (ONEHOP_KAFKA) name it? %w", err)
	}
	return stream.NewLetters(source, options)
}

// Close closes the connections.
func (b *letterBox) Close() {
	b.Letters.Close()
	b.closeSchemas()
}

func (b *letterBox) closeSchemas() {
	if b.schemas != nil {
		b.schemas.Close()
	}
}

// judge says why a letter's record would be refused if it were put back now; nil when it
// would be accepted.
func (b *letterBox) judge(ctx context.Context, letter *stream.Letter) error {
	if letter.Cut != "" {
		return fmt.Errorf("it cannot be put back: %s", letter.Cut)
	}
	at := max(time.Now().UnixMicro(), b.effectiveAt)
	_, err := b.decoder.Decode(ctx, letter.Again(b.source, time.UnixMicro(at)), nil)
	return err
}

// letterFilter says which letters are meant.
type letterFilter struct {
	Reason string `placeholder:"TEXT" help:"Those whose reason holds this text."`
	Since  string `placeholder:"TIME" help:"Those whose record is not older: 90m, 24h, or a time such as 2026-01-02T15:04:05Z."`
}

// Check returns what is wrong with the filter.
func (f *letterFilter) Check() error {
	_, err := f.since(time.Now())
	return err
}

func (f *letterFilter) since(now time.Time) (time.Time, error) {
	return moment("--since", f.Since, now)
}

// filter keeps the letters that are meant; those that were put back only if asked.
func (f *letterFilter) filter(list []stream.Letter, now time.Time, retried bool) []stream.Letter {
	since, _ := f.since(now) // was checked
	return slices.DeleteFunc(slices.Clone(list), func(l stream.Letter) bool {
		return l.Retried != nil && !retried || l.Time.Before(since) || !strings.Contains(l.Reason, f.Reason)
	})
}

// places names letters: partition/offset, or the whole id where letters are of several
// incarnations of the topic.
type places struct{ long bool }

func newPlaces(list []stream.Letter) places {
	topic := func(l *stream.Letter) string { id, _, _ := strings.Cut(l.ID, "/"); return id }
	for i := range list {
		if topic(&list[i]) != topic(&list[0]) {
			return places{long: true}
		}
	}
	return places{}
}

func (p places) name(l *stream.Letter) string {
	if p.long {
		return l.ID
	}
	return shortPlace(l)
}

func shortPlace(l *stream.Letter) string { return fmt.Sprintf("%d/%d", l.Partition, l.Offset) }

// find finds the letter at a place: partition/offset, or its id.
func find(list []stream.Letter, place string) (*stream.Letter, error) {
	var found []*stream.Letter
	for i := range list {
		if list[i].ID == place {
			return &list[i], nil
		}
		if shortPlace(&list[i]) == place {
			found = append(found, &list[i])
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("there is no dead letter at %q: onehop dlq list --all has all of them, as partition/offset", place)
	case 1:
		return found[0], nil
	}
	var ids []string
	for _, l := range found {
		ids = append(ids, l.ID)
	}
	return nil, fmt.Errorf("the topic was made again, and %q is several letters: name one of %s", place, strings.Join(ids, ", "))
}
