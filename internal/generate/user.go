package generate

import "math/rand/v2"

// User is a rater.
type User struct {
	ID         int64  `json:"user_id"`
	Age        int    `json:"age"` // years
	Gender     string `json:"gender"`
	Occupation string `json:"occupation"`
}

// AppendJSON appends the user as a JSON record whose event_time is at, in microseconds.
func (u User) AppendJSON(dst []byte, at int64) []byte {
	type user User
	return appendRecord(dst, struct {
		user
		EventTime int64 `json:"event_time"`
	}{user(u), at})
}

// Users invents a profile for every user, by id. It follows from the seed and has no bearing on the ratings.
func (g *Generator) Users() []User {
	random := rand.New(rand.NewPCG(g.options.Seed, 3))
	genders := []string{"F", "M"}
	occupations := []string{"artist", "doctor", "engineer", "librarian", "other", "student", "teacher", "writer"}
	users := make([]User, len(g.world.users))
	for i := range users {
		users[i] = User{
			ID: int64(i) + 1, Age: 14 + random.IntN(60),
			Gender: genders[random.IntN(len(genders))], Occupation: occupations[random.IntN(len(occupations))],
		}
	}
	return users
}
