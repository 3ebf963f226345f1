package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/hearthnet/hearth/topology"
)

// check reads a topology file and prints what is wrong with it or what is in it.
func check(o options, stdout, stderr io.Writer) int {
	r, err := topology.ReadFile(o.node.topology, topology.Options{Lenient: o.node.lenient})
	if err != nil {
		if o.json { // whoever reads the output finds an object in it in any case
			unread := topology.Report{Problems: []topology.Problem{{Severity: topology.Error, Line: 1, Column: 1, Message: err.Error()}}}
			_ = json.NewEncoder(stdout).Encode(unread)
		}
		fmt.Fprintf(stderr, "relay: %v\n", err)
		return exitFail
	}
	refused := r.Err()
	if o.json {
		err = json.NewEncoder(stdout).Encode(r.Report())
	} else {
		err = printResult(r, stdout)
	}
	if err != nil {
		fmt.Fprintf(stderr, "relay: %v\n", err)
		return exitFail
	}
	if refused != nil {
		fmt.Fprintf(stderr, "relay: refused: %v\n", refused)
		return exitFail
	}
	return exitOK
}

// printResult lists the problems, one a line in the manner of compilers, then the content unless the file is refused.
func printResult(r *topology.Result, w io.Writer) error {
	for _, p := range r.Problems {
		if _, err := fmt.Fprintln(w, p); err != nil {
			return err
		}
	}
	if r.Err() != nil {
		return nil
	}
	_, err := w.Write(r.Topology.AppendJSON(nil))
	return err
}
