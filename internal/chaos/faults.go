package chaos

import (
	"context"
	"time"
)

// Size is how much of a fault there is.
type Size struct {
	// Times counts repeats: kills, joins, pauses.
	Times int
	// Events to produce, at least.
	Events int
	// Within bounds the whole run.
	Within time.Duration
}

// Fault is one way to break things.
type Fault struct {
	Name string
	// What it does, and what it asserts beside the checker.
	What string
	// Short runs in CI, Full by hand.
	Short, Full Size
	Dirt        Dirt
	// Race builds the services with the race detector.
	Race bool
	// Proxied lets the services reach the servers through proxies.
	Proxied bool
	// Clustered gives the fault three brokers and three Redis masters of its own.
	Clustered bool
	// Partitions of the topic; 0 means 4.
	Partitions int32
	// Views to define; none means all.
	Views []string
	// Run breaks things. When it returns, a running ingest must be able to drain.
	Run func(ctx context.Context, s *Stand) error
	// Parts to check afterwards; none means all.
	Parts []Part
}

// Faults is the table.
var Faults = []Fault{
	{
		Name: "kill", What: "SIGKILL of ingest at random moments, while it starts too",
		Short: Size{10, 200_000, 2 * time.Minute}, Full: Size{200, 5_000_000, 30 * time.Minute}, Run: kill,
	},
	{
		Name: "members", What: "members of the consumer groups join and leave; ingest has the race detector",
		Short: Size{10, 30_000, 2 * time.Minute}, Full: Size{100, 500_000, 20 * time.Minute}, Race: true, Run: members,
	},
	{
		Name: "pause", What: "two of three members stopped past the session timeout, then continued; counts refused commits",
		Short: Size{2, 60_000, 2 * time.Minute}, Full: Size{50, 1_000_000, 20 * time.Minute}, Run: zombies,
	},
	{
		Name: "failover", What: "the primary Redis is killed with at least a tenth of its writes unreplicated, and the replica promoted",
		Short: Size{1, 60_000, 2 * time.Minute}, Full: Size{20, 1_000_000, 20 * time.Minute}, Run: failover,
	},
	{
		Name: "flush", What: "FLUSHALL while streaming and serving; a reader sees no false NOT_FOUND and no value go back; full: 1 M entities live again in 60 s",
		Short: Size{1, 60_000, 2 * time.Minute}, Full: Size{10, 5_000_000, 30 * time.Minute}, Run: flush, Views: []string{countView, "movies"},
	},
	{
		Name: "restart-kafka", What: "the broker is killed and started again; ingest goes on within 5 s",
		Short: Size{1, 40_000, 2 * time.Minute}, Full: Size{20, 500_000, 20 * time.Minute}, Run: restart(kafkaOf),
	},
	{
		Name: "restart-redis", What: "Redis, with its append-only file, is killed and started again; ingest goes on within 5 s",
		Short: Size{1, 40_000, 2 * time.Minute}, Full: Size{20, 500_000, 20 * time.Minute}, Run: restart(redisOf),
	},
	{
		Name: "restart-postgres", What: "Postgres is killed and started again; history goes on within 5 s",
		Short: Size{1, 40_000, 2 * time.Minute}, Full: Size{20, 500_000, 20 * time.Minute}, Run: restart(postgresOf),
	},
	{
		Name: "postgres-away", What: "Postgres does not answer for so many seconds: fresh features stay fresh, history lags and then catches up",
		Short: Size{4, 30_000, 2 * time.Minute}, Full: Size{60, 300_000, 10 * time.Minute}, Run: postgresAway,
	},
	{
		Name: "dirty", What: "20 % late, 5 % duplicate, clocks of producers 5 minutes off either way",
		Short: Size{1, 100_000, 2 * time.Minute}, Full: Size{1, 5_000_000, 20 * time.Minute}, Run: events,
		Dirt: Dirt{Late: 0.2, Duplicate: 0.05, Skew: 5 * time.Minute},
	},
	{
		Name: "malformed", What: "1 % of the records are malformed: all become dead letters that say where they came from",
		Short: Size{1, 100_000, 2 * time.Minute}, Full: Size{1, 5_000_000, 20 * time.Minute}, Run: events,
		Dirt: Dirt{Malformed: 0.01},
	},
	{
		Name: "network", What: "the network between ingest and each server is cut, silent and slow, in turn; ingest goes on within 5 s",
		Short: Size{1, 60_000, 3 * time.Minute}, Full: Size{20, 500_000, 30 * time.Minute}, Run: network, Proxied: true,
	},
	{
		Name: "topic-again", What: "the topic is deleted and made again: the rows keep the old events and get the new ones",
		Short: Size{1, 20_000, 2 * time.Minute}, Full: Size{5, 100_000, 10 * time.Minute}, Run: topicAgain,
	},
	{
		Name: "partitions-added", What: "partitions are added to the topic while it is followed",
		Short: Size{1, 20_000, 2 * time.Minute}, Full: Size{5, 100_000, 10 * time.Minute}, Run: partitionsAdded,
	},
	{
		Name: "groups-deleted", What: "both consumer groups are deleted while ingest is away: it goes on where its own marks say",
		Short: Size{1, 20_000, 2 * time.Minute}, Full: Size{5, 100_000, 10 * time.Minute}, Run: groupsDeleted,
	},
	{
		Name: "flood", What: "distinct keys, each seen once or twice, Redis slow for a while: the memory of ingest stays within its budget",
		Short: Size{4, 240_000, 2 * time.Minute}, Full: Size{60, 12_000_000, 30 * time.Minute}, Run: flood, Views: []string{countView},
	},
	{
		Name: "cluster", What: "four members over three brokers and three Redis masters: planned changes stop no partition that stays where it is for over a second; a broker and a master killed",
		Short: Size{1, 60_000, 4 * time.Minute}, Full: Size{10, 1_000_000, 20 * time.Minute}, Run: clustered, Clustered: true, Partitions: 12,
	},
	{
		Name: "retention", What: "Kafka forgets events that rows need: the views are left out with an alarm and not served; history goes on",
		Short: Size{1, 20_000, 2 * time.Minute}, Full: Size{1, 100_000, 10 * time.Minute}, Run: retention, Parts: []Part{History, Letters},
	},
	{
		Name: "backfill", What: "the same, and the views are filled from history while events arrive; fillers are stopped halfway",
		Short: Size{2, 40_000, 2 * time.Minute}, Full: Size{10, 1_000_000, 20 * time.Minute}, Run: backfill,
	},
}
