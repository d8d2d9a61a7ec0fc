// Package materialize reads the rows of batch sources (a table or a query of Postgres, or
// files) as records of their topics: those whose event time is in a span, in its order, in
// bounded memory. It writes nothing; [stream.BatchWriter] does.
package materialize
