package topology

import "strconv"

// decimal is an exact JSON number: digits × 10^exp, without leading or trailing zeros in digits; zero has no digits.
type decimal struct {
	neg    bool
	digits []byte
	exp    int64 // saturates far beyond anything that is accepted
	// shown is the exponent before trailing zeros were removed: aeson bounds rationals by it.
	shown int64
}

const expLimit = int64(1) << 40

// parseDecimal reads a text that the scanner accepted as a number.
func parseDecimal(text []byte) decimal {
	var d decimal
	i := 0
	if text[i] == '-' {
		d.neg = true
		i++
	}
	frac := int64(0)
	seenPoint := false
	d.digits = make([]byte, 0, min(len(text), 32))
	for ; i < len(text); i++ {
		c := text[i]
		if c == '.' {
			seenPoint = true
			continue
		}
		if c < '0' || c > '9' {
			break
		}
		if seenPoint {
			frac++
		}
		if c != '0' || len(d.digits) > 0 {
			d.digits = append(d.digits, c)
		}
	}
	if i < len(text) { // e or E
		i++
		neg := text[i] == '-'
		if neg || text[i] == '+' {
			i++
		}
		for ; i < len(text); i++ {
			d.exp = min(d.exp*10+int64(text[i]-'0'), expLimit)
		}
		if neg {
			d.exp = -d.exp
		}
	}
	d.exp -= frac
	d.shown = d.exp
	for n := len(d.digits); n > 0 && d.digits[n-1] == '0'; n-- {
		d.digits = d.digits[:n-1]
		d.exp++
	}
	if len(d.digits) == 0 {
		d.exp = 0
	}
	return d
}

func (d decimal) sign() int {
	switch {
	case len(d.digits) == 0:
		return 0
	case d.neg:
		return -1
	}
	return 1
}

// int64 returns the value when it is integral and fits; 3001.0 and 3e3 are integral (governor §8.1).
func (d decimal) int64() (int64, bool) {
	if d.exp < 0 || int64(len(d.digits))+d.exp > 19 {
		return 0, false
	}
	if len(d.digits) == 0 {
		return 0, true
	}
	v, err := strconv.ParseInt(d.plain(), 10, 64)
	return v, err == nil
}

// uint64 is the same for unsigned values.
func (d decimal) uint64() (uint64, bool) {
	if d.neg && len(d.digits) > 0 || d.exp < 0 || int64(len(d.digits))+d.exp > 20 {
		return 0, false
	}
	if len(d.digits) == 0 {
		return 0, true
	}
	v, err := strconv.ParseUint(d.plain(), 10, 64)
	return v, err == nil
}

func (d decimal) plain() string {
	b := make([]byte, 0, 24)
	if d.neg {
		b = append(b, '-')
	}
	b = append(b, d.digits...)
	for i := int64(0); i < d.exp; i++ {
		b = append(b, '0')
	}
	return string(b)
}

// floor rounds a positive value down. Like cardano-node it counts modulo 2^64; fits tells when that changed the value.
func (d decimal) floor() (v uint64, fits bool) {
	whole := int64(len(d.digits)) + d.exp // digits before the decimal point
	fits = true
	for i := int64(0); i < whole; i++ {
		c := uint64(0)
		if i < int64(len(d.digits)) {
			c = uint64(d.digits[i] - '0')
		} else if i > int64(len(d.digits))+64 {
			return 0, false // 10^64 is a multiple of 2^64
		}
		if v > (1<<64-1-c)/10 {
			fits = false
		}
		v = v*10 + c
	}
	return v, fits
}
