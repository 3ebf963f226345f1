//go:build !race

package governor

const raceOn = false
