// Package definition reads the definitions of a namespace from YAML and checks them:
// what it returns is a catalog that folds, plans and stores can rely on.
//
// [Load] reads files and directories, [Parse] texts in memory; several files make one
// catalog. All mistakes are found in one pass and returned together as [*Errors], each
// with file, line and column, and near-misses of names with a suggestion. What the
// design reserves and this version does not build is refused by name, never ignored.
//
// The Go types in types.go are the one description of the file's shape: the strict
// decoder and [Schema], the JSON Schema for editors, both follow from their tags.
//
// [Diff] compares two catalogs for people. The package does no I/O but reading files.
package definition

//go:generate go test . -run ^TestSchemaIsFresh$ -update
