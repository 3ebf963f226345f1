package main

import "encoding/hex"

// unhex reads the constants of this program.
func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}
