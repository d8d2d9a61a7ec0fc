package generate

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
)

// tastes is the number of hidden dimensions; each stands for a genre.
const tastes = 6

// ratingNoise is the standard deviation of what is random in a rating, in stars.
const ratingNoise = 0.5

var genres = [tastes]string{"Action", "Comedy", "Drama", "Horror", "Romance", "Science Fiction"}

// Item is a movie.
type Item struct {
	ID     int64    `json:"movie_id"`
	Title  string   `json:"title"`
	Year   int      `json:"year"`
	Genres []string `json:"genres"` // one or two, strongest first
}

// AppendJSON appends the movie as a JSON record whose event_time is at, in microseconds. Beside the item's fields it has the first
// genre as main_genre and the number of genres as genre_count.
func (i Item) AppendJSON(dst []byte, at int64) []byte {
	type item Item
	record := struct {
		item
		MainGenre  string `json:"main_genre,omitempty"`
		GenreCount int    `json:"genre_count"`
		EventTime  int64  `json:"event_time"`
	}{item: item(i), GenreCount: len(i.Genres), EventTime: at}
	if len(i.Genres) > 0 {
		record.MainGenre = i.Genres[0]
	}
	return appendRecord(dst, record)
}

func appendRecord(dst []byte, record any) []byte {
	encoded, err := json.Marshal(record)
	if err != nil { // strings and integers always encode
		panic(err)
	}
	return append(dst, encoded...)
}

// world is who and what there is: it follows from the seed alone.
type world struct {
	users, items         []being // by id - 1
	userRanks, itemRanks []int   // from rank of popularity to index
	titles               []Item
}

// being is a user or movie: how it shifts ratings and what it likes or offers.
type being struct {
	bias   float64
	factor [tastes]float64
}

func newWorld(options Options) *world {
	random := rand.New(rand.NewPCG(options.Seed, 2))
	w := &world{users: beings(random, options.Users), items: beings(random, options.Items)}
	for id := range w.items {
		w.titles = append(w.titles, newItem(random, int64(id)+1, &w.items[id].factor))
	}
	// Popularity has nothing to do with ids or tastes.
	w.itemRanks, w.userRanks = random.Perm(options.Items), random.Perm(options.Users)
	return w
}

func beings(random *rand.Rand, count int) []being {
	all := make([]being, count)
	for i := range all {
		all[i].bias = random.NormFloat64() * 0.4
		for j := range all[i].factor {
			all[i].factor[j] = random.NormFloat64() * 0.55
		}
	}
	return all
}

// newItem gives the movie the genres of its strongest positive factors.
func newItem(random *rand.Rand, id int64, factor *[tastes]float64) Item {
	first, second := 0, -1
	for i := 1; i < tastes; i++ {
		switch {
		case factor[i] > factor[first]:
			first, second = i, first
		case second < 0 || factor[i] > factor[second]:
			second = i
		}
	}
	item := Item{ID: id, Year: 1960 + random.IntN(65), Genres: []string{genres[first]}}
	if factor[second] > 0.3 {
		item.Genres = append(item.Genres, genres[second])
	}
	adjectives := []string{"Silent", "Broken", "Golden", "Last", "Hidden", "Electric", "Lonely", "Second"}
	nouns := []string{"River", "Machine", "Summer", "Letter", "Harbour", "Signal", "Garden", "Winter"}
	item.Title = fmt.Sprintf("The %s %s %d", adjectives[random.IntN(len(adjectives))], nouns[random.IntN(len(nouns))], id)
	return item
}

func (w *world) itemAt(rank int) int64 { return int64(w.itemRanks[rank]) + 1 }

func (w *world) userAt(rank int) int64 { return int64(w.userRanks[rank]) + 1 }

// Items lists all movies by id. The caller must not change it.
func (g *Generator) Items() []Item { return g.world.titles }

// Affinity is the rating, in stars but neither bounded nor rounded, that the user gives the movie on average: what a perfect
// model would predict. Ids must be those of the options' users and movies.
func (g *Generator) Affinity(userID, itemID int64) float64 {
	user, item := &g.world.users[userID-1], &g.world.items[itemID-1]
	score := 3.4 + user.bias + item.bias
	for i := range user.factor {
		score += user.factor[i] * item.factor[i]
	}
	return score
}
