package events

import (
	"slices"
	"strconv"
)

// Genres are the names of the fields that say of which genres a movie is.
var Genres = []string{"drama", "comedy", "action", "thriller", "romance", "adventure", "sci_fi", "crime"}

// fields maps the genres' names in the data to those of fields. The two data sets
// write one of them differently.
var fields = map[string]string{
	"Drama": "drama", "Comedy": "comedy", "Action": "action", "Thriller": "thriller", "Romance": "romance",
	"Adventure": "adventure", "Sci-Fi": "sci_fi", "Science Fiction": "sci_fi", "Crime": "crime",
}

// appendFlags adds a member for each of Genres to a JSON object: 1 if the movie is of
// it, else 0.
func appendFlags(object []byte, genres []string) []byte {
	object = object[:len(object)-1]
	for _, field := range Genres {
		flag := ":0"
		if slices.ContainsFunc(genres, func(g string) bool { return fields[g] == field }) {
			flag = ":1"
		}
		object = append(strconv.AppendQuote(append(object, ','), field), flag...)
	}
	return append(object, '}')
}

// appendStars adds the stars to a JSON object for each of Genres that the movie is of.
func appendStars(object []byte, stars float64, genres []string) []byte {
	object = object[:len(object)-1]
	for _, genre := range genres {
		if field := fields[genre]; field != "" {
			object = append(strconv.AppendQuote(append(object, ','), field), ':')
			object = strconv.AppendFloat(object, stars, 'g', -1, 64)
		}
	}
	return append(object, '}')
}
