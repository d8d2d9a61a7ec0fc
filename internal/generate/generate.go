// Package generate invents a stream of movie ratings for demos, benchmarks and tests: Zipf popularity, sessions, a daily rhythm,
// ratings that follow hidden tastes so that a model can learn them, and the dirt of real streams (late, duplicate and malformed
// events). The same options give the same stream. The sinks for files and Kafka are here as well.
package generate

import (
	"cmp"
	"math"
	"math/rand/v2"
	"time"
)

// Options shape the stream; the zero value is a clean stream of 1,000 users and 2,000 movies.
type Options struct {
	// Seed selects the stream: users, movies, tastes and events all follow from it.
	Seed uint64
	// Users is how many users there are, with ids from 1; 0 means 1,000.
	Users int
	// Items is how many movies there are, with ids from 1; 0 means 2,000.
	Items int
	// Start is when the first event arrives; the zero time means 2026-01-01 00:00 UTC.
	Start time.Time
	// Rate is the mean number of arrivals per second of stream time; 0 means 10. By day it is up to 1.6 times that, at night 0.4.
	Rate float64
	// Clock, if set, says when each event arrives instead of Start and Rate: for live streams. Times are then not reproducible.
	Clock func() time.Time
	// Zipf is the exponent of movies' and users' popularity, above 1; 0 means 1.1.
	Zipf float64
	// SessionLength is the mean number of ratings a user gives in one sitting; 0 means 8.
	SessionLength float64
	// Late is the fraction, 0 to 1, of events that happened up to MaxLateness before they arrive.
	Late float64
	// MaxLateness bounds how late; 0 means 10 minutes.
	MaxLateness time.Duration
	// Duplicate is the fraction of events that repeat one of the last 64.
	Duplicate float64
	// Malformed is the fraction of events whose JSON no consumer should accept.
	Malformed float64
}

func (o Options) withDefaults() Options {
	o.Users = cmp.Or(o.Users, 1000)
	o.Items = cmp.Or(o.Items, 2000)
	o.Rate = cmp.Or(o.Rate, 10)
	o.Zipf = cmp.Or(o.Zipf, 1.1)
	o.SessionLength = cmp.Or(o.SessionLength, 8)
	o.MaxLateness = cmp.Or(o.MaxLateness, 10*time.Minute)
	if o.Start.IsZero() {
		o.Start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	return o
}

// Event is one rating as it arrives.
type Event struct {
	UserID, ItemID int64
	Rating         float64 // 1 to 5 in halves
	Time           int64   // when it happened, microseconds since 1970, UTC
	Arrival        int64   // when it arrives, the same unit; later than Time, strictly rising along the stream
	Late           bool    // Time is up to MaxLateness, plus the age of a duplicate, before Arrival
	Duplicate      bool    // all but Arrival repeat a recent event
	Malformed      bool    // AppendJSON writes something that must be refused
}

// recentEvents is how far back a duplicate reaches.
const recentEvents = 64

// Generator makes the stream. It is not safe for concurrent use.
type Generator struct {
	options  Options
	random   *rand.Rand
	world    *world
	itemZipf *rand.Zipf
	userZipf *rand.Zipf
	sessions []int64 // users who are rating right now
	arrival  float64 // of the last event, seconds since Start
	last     int64   // Arrival of the last event
	recent   [recentEvents]Event
	made     int // events in recent so far
}

// New returns a generator at the start of its stream.
func New(options Options) *Generator {
	options = options.withDefaults()
	random := rand.New(rand.NewPCG(options.Seed, 1))
	return &Generator{
		options: options, random: random, world: newWorld(options),
		itemZipf: rand.NewZipf(random, options.Zipf, 1, uint64(options.Items-1)),
		userZipf: rand.NewZipf(random, options.Zipf, 10, uint64(options.Users-1)), // flatter: even the keenest sleep
	}
}

// Next returns the next event to arrive. The stream never ends.
func (g *Generator) Next() Event {
	arrival := g.nextArrival()
	if g.made > 0 && g.random.Float64() < g.options.Duplicate {
		event := g.recent[g.random.IntN(min(g.made, recentEvents))]
		event.Arrival, event.Duplicate, event.Late = arrival, true, true
		return event
	}
	event := Event{UserID: g.nextUser(), Arrival: arrival, Time: arrival - 1}
	event.ItemID = g.world.itemAt(int(g.itemZipf.Uint64()))
	noise := g.random.NormFloat64() * ratingNoise
	event.Rating = math.Round(2*min(max(g.Affinity(event.UserID, event.ItemID)+noise, 1), 5)) / 2
	if g.random.Float64() < g.options.Late {
		event.Late = true
		event.Time -= 1 + g.random.Int64N(g.options.MaxLateness.Microseconds())
	}
	event.Malformed = g.random.Float64() < g.options.Malformed
	g.recent[g.made%recentEvents] = event
	g.made++
	return event
}

// nextArrival draws the time to the next event from an exponential distribution whose rate follows the hour of the day.
func (g *Generator) nextArrival() int64 {
	var at int64
	if g.options.Clock != nil {
		at = g.options.Clock().UnixMicro()
	} else {
		day := float64(g.options.Start.Unix()) + g.arrival
		// Lowest at 02:00, highest at 14:00 UTC.
		rhythm := 1 - 0.6*math.Cos(2*math.Pi*(day/86400-2.0/24))
		g.arrival += g.random.ExpFloat64() / (g.options.Rate * rhythm)
		at = g.options.Start.UnixMicro() + int64(g.arrival*1e6)
	}
	g.last = max(at, g.last+2) // 2: an on-time event lies between its arrival and the one before
	return g.last
}

// maxSessions bounds how many users rate at the same time.
const maxSessions = 256

// nextUser takes somebody who is rating already, or starts a session; sessions end at random, so their length is geometric.
func (g *Generator) nextUser() int64 {
	starts := len(g.sessions) == 0 || len(g.sessions) < maxSessions && g.random.Float64() < 1/g.options.SessionLength
	if starts {
		g.sessions = append(g.sessions, g.world.userAt(int(g.userZipf.Uint64())))
	}
	at := g.random.IntN(len(g.sessions))
	user := g.sessions[at]
	if g.random.Float64() < 1/g.options.SessionLength {
		g.sessions[at] = g.sessions[len(g.sessions)-1]
		g.sessions = g.sessions[:len(g.sessions)-1]
	}
	return user
}
