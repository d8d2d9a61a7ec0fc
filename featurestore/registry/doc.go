// Package registry stores definitions, versioned, in Postgres, and lets running
// services follow them.
//
// Every [Registry.Apply] makes a new version of the namespace's whole catalog. It
// takes effect for records with a timestamp some seconds ahead, so that every process
// knows it before the first such record arrives, and processes decide alike. Services
// hear of it by NOTIFY, and look every few seconds in case they missed it; a snapshot
// on disk lets them start while Postgres is away.
package registry
