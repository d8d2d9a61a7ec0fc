package repository_test

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/onehop/onehop/inference/repository"
)

func Example() {
	dir, err := os.MkdirTemp("", "models")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	for _, version := range []string{"1", "2", "3"} {
		path := filepath.Join(dir, "movie_ranker", version)
		_ = os.MkdirAll(path, 0o755)
		_ = os.WriteFile(filepath.Join(path, repository.SpecFile), []byte(good), 0o600)
		if version != "3" { // still being copied
			_ = os.WriteFile(filepath.Join(path, repository.ModelFile), []byte("…"), 0o600)
		}
	}
	models, err := repository.Open(dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	versions, err := models.Scan()
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, v := range versions {
		if v.Err != nil {
			fmt.Println("do not serve", v.Model, v.Number)
			continue
		}
		fmt.Println("serve", v.Model, v.Number, "with", len(v.Spec.Inputs[0].Columns), "columns")
	}
	// Output:
	// serve movie_ranker 1 with 4 columns
	// serve movie_ranker 2 with 4 columns
	// do not serve movie_ranker 3
}
