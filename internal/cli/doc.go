// Package cli is the command-line tool: one file for each command, each a struct with
// kong tags and a Run method. Commands parse, call what does the work, and print; they
// own no logic of the stores or the services.
//
// The exit status is 0 when a command did what it says, 1 when it could not, and 64
// (EX_USAGE of sysexits.h) when it was called in a way that it does not understand.
// `plan --detailed-exitcode` has 2 for "there are changes".
package cli
