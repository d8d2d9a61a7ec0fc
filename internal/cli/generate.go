package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/onehop/onehop/featurestore/stream"
	"github.com/onehop/onehop/internal/config"
	"github.com/onehop/onehop/internal/generate"
)

// generateCommand invents ratings.
type generateCommand struct {
	File       string   `placeholder:"FILE" help:"Write JSON lines to this file, - is the standard output, whatever --kafka says."`
	Kafka      []string `env:"ONEHOP_KAFKA" sep:"," placeholder:"HOST:PORT" help:"Send to Kafka: its bootstrap brokers."`
	Topic      string   `env:"ONEHOP_TOPIC" default:"movielens.ratings" help:"Topic of the ratings; made if it is not there."`
	ItemsTopic string   `env:"ONEHOP_ITEMS_TOPIC" placeholder:"TOPIC" help:"Send what is known of each movie to this topic first, for example movielens.movies."`
	UsersTopic string   `env:"ONEHOP_USERS_TOPIC" placeholder:"TOPIC" help:"Send the profile of each user to this topic first, for example movielens.users."`
	Partitions int32    `env:"ONEHOP_PARTITIONS" default:"4" help:"Partitions of topics that are made."`

	Count      int       `short:"n" default:"100000" help:"How many events; 0 sends to Kafka until interrupted."`
	Rate       float64   `default:"0" help:"Events a second. To Kafka: of real time, 0 for as fast as it takes them. To a file: of the stream's own time, 0 for 10."`
	Start      time.Time `placeholder:"TIME" help:"When the stream begins, as 2026-01-01T00:00:00Z; the same options then give the same stream. To Kafka the default is now, as events are sent; to a file it is 2026-01-01."`
	Seed       uint64    `default:"1" help:"Which stream: users, movies, tastes and events follow from it."`
	Users      int       `default:"1000" help:"How many users."`
	Items      int       `default:"2000" help:"How many movies."`
	Late       float64   `default:"0" help:"Fraction, 0 to 1, of events that happened up to 10 minutes before they arrive."`
	Duplicates float64   `default:"0" help:"Fraction of events that repeat a recent one."`
	Malformed  float64   `default:"0" help:"Fraction of events that no consumer should accept."`
}

// Help is printed by --help.
func (*generateCommand) Help() string {
	return "Ratings follow hidden tastes, so that a model can learn them; movies and users are as popular as in life, users come " +
		"in sessions, and streams can be as dirty as real ones.\n\n" +
		"Examples:\n\n    onehop generate --file ratings.jsonl --count 1000000\n" +
		"    onehop generate --kafka 127.0.0.1:9092 --items-topic movielens.movies --users-topic movielens.users --rate 500 --count 0"
}

// Check returns everything that is wrong with the flags.
func (c *generateCommand) Check() error {
	var problems []error
	if c.File == "" && len(c.Kafka) == 0 {
		problems = append(problems, errors.New("give --file, or --kafka (ONEHOP_KAFKA)"))
	}
	if c.File != "" && (c.ItemsTopic != "" || c.UsersTopic != "") {
		problems = append(problems, errors.New("--items-topic and --users-topic need --kafka"))
	}
	if c.Count < 0 || c.Count == 0 && c.File != "" {
		problems = append(problems, errors.New("--count must be at least 1"))
	}
	if c.Users < 2 || c.Items < 2 {
		problems = append(problems, errors.New("--users and --items must be at least 2"))
	}
	if c.Rate < 0 {
		problems = append(problems, errors.New("--rate must not be negative"))
	}
	if c.Partitions < 1 {
		problems = append(problems, errors.New("--partitions must be at least 1"))
	}
	for name, fraction := range map[string]float64{"--late": c.Late, "--duplicates": c.Duplicates, "--malformed": c.Malformed} {
		if !(fraction >= 0 && fraction <= 1) {
			problems = append(problems, fmt.Errorf("%s must be between 0 and 1", name))
		}
	}
	for _, broker := range c.Kafka {
		problems = append(problems, config.CheckAddress("--kafka", broker))
	}
	return errors.Join(problems...)
}

// Run generates.
func (c *generateCommand) Run(ctx context.Context, s Streams) error {
	options := generate.Options{
		Seed: c.Seed, Users: c.Users, Items: c.Items, Start: c.Start, Rate: c.Rate,
		Late: c.Late, Duplicate: c.Duplicates, Malformed: c.Malformed,
	}
	if c.File != "" {
		return c.toFile(ctx, s, generate.New(options))
	}
	if c.Start.IsZero() {
		options.Clock = time.Now
	}
	return c.toKafka(ctx, s, generate.New(options))
}

func (c *generateCommand) toFile(ctx context.Context, s Streams, gen *generate.Generator) (err error) {
	out := s.Out
	if c.File != "-" {
		file, err := os.Create(c.File)
		if err != nil {
			return fmt.Errorf("--file: %w", err)
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		out = file
	}
	report, finish := progress(s.Err, "events", c.Count)
	defer finish()
	return generate.ToFile(ctx, out, gen, c.Count, report)
}

func (c *generateCommand) toKafka(ctx context.Context, s Streams, gen *generate.Generator) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(c.Kafka...), kgo.ClientID("onehop-generate"),
		kgo.RecordDeliveryTimeout(30*time.Second), kgo.ProducerLinger(5*time.Millisecond))
	if err != nil {
		return fmt.Errorf("the Kafka client: %w", err)
	}
	defer client.Close()
	if err := c.topics(ctx, client); err != nil {
		return err
	}
	if err := c.nouns(ctx, client, gen, s.Err); err != nil {
		return err
	}
	report, finish := progress(s.Err, "events", c.Count)
	sent, err := generate.ToKafka(ctx, client, gen, generate.KafkaOptions{
		Topic: c.Topic, Count: c.Count, Rate: c.Rate, Progress: report,
	})
	finish()
	if err == nil {
		fmt.Fprintf(s.Err, "sent %d events to topic %s\n", sent, c.Topic)
	}
	return err
}

// topics makes the topics that are not there. A stream of the past must not fall to
// the broker's retention.
func (c *generateCommand) topics(ctx context.Context, client *kgo.Client) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if err := client.Ping(ctx); err != nil {
		return fmt.Errorf("asking Kafka at %v: is it running, and does --kafka (ONEHOP_KAFKA) name it? %w", c.Kafka, err)
	}
	configs := map[string]string{}
	if !c.Start.IsZero() {
		configs["retention.ms"] = "-1"
	}
	for _, topic := range []string{c.Topic, c.ItemsTopic, c.UsersTopic} {
		if topic == "" {
			continue
		}
		if err := stream.EnsureTopic(ctx, client, topic, c.Partitions, configs); err != nil {
			return err
		}
	}
	return nil
}

// nouns sends what is known of movies and users.
func (c *generateCommand) nouns(ctx context.Context, client *kgo.Client, gen *generate.Generator, log io.Writer) error {
	at := c.Start
	if at.IsZero() {
		at = time.Now()
	}
	var records []*kgo.Record
	add := func(topic string, id int64, value []byte) {
		records = append(records, &kgo.Record{Topic: topic, Key: strconv.AppendInt(nil, id, 10), Value: value, Timestamp: at})
	}
	if c.ItemsTopic != "" {
		for _, item := range gen.Items() {
			add(c.ItemsTopic, item.ID, item.AppendJSON(nil, at.UnixMicro()))
		}
	}
	if c.UsersTopic != "" {
		for _, user := range gen.Users() {
			add(c.UsersTopic, user.ID, user.AppendJSON(nil, at.UnixMicro()))
		}
	}
	if len(records) == 0 {
		return nil
	}
	if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return fmt.Errorf("sending movies and users: %w", err)
	}
	fmt.Fprintf(log, "sent %d movies and users\n", len(records))
	return nil
}
