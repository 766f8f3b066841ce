package config

import (
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"strings"
)

// hidden is what every print of a Secret shows.
const hidden = "(hidden)"

// Secret is a text that no print and no log line shows. Reveal returns it.
type Secret string

// Reveal returns the text itself.
func (s Secret) Reveal() string { return string(s) }

// UnmarshalText takes the text as it is.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = Secret(text)
	return nil
}

// MarshalText returns the same for every Secret but the empty one.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.shown()), nil }

// Format writes the same for every Secret but the empty one, whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, s.shown()) }

// LogValue is the same for every Secret but the empty one.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.shown()) }

func (s Secret) shown() string {
	if s == "" {
		return ""
	}
	return hidden
}

// Address is where to listen, in the form host:port; empty for nowhere.
type Address string

// UnmarshalText takes the text as it is; off stands for nowhere, as some places can't have an empty text.
func (a *Address) UnmarshalText(text []byte) error {
	*a = Address(text)
	if *a == "off" {
		*a = ""
	}
	return nil
}

// Size is a number of bytes.
type Size int64

// units of a Size. Single letters are left out, since their meaning differs between programs.
var units = []struct {
	name  string
	bytes Size
}{
	// The first that divides a Size is the one in which it is printed.
	{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"Gi", 1 << 30}, {"Mi", 1 << 20}, {"Ki", 1 << 10},
	{"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3},
	{"B", 1},
}

// UnmarshalText reads a whole number of bytes with or without a unit, in either case: 32768, 32KiB, 1 MiB, 1MB, 64Ki.
// KiB, MiB and GiB are powers of 1024; KB, MB and GB powers of 1000.
func (s *Size) UnmarshalText(text []byte) error {
	number := strings.TrimRight(string(text), "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
	unit, factor := string(text)[len(number):], Size(1)
	if unit != "" {
		factor = 0
		for _, u := range units {
			if strings.EqualFold(u.name, unit) {
				factor = u.bytes
				break
			}
		}
	}
	n, err := strconv.ParseUint(strings.TrimSpace(number), 10, 63)
	if err != nil || !decimal.MatchString(strings.TrimSpace(number)) || factor == 0 || Size(n) > math.MaxInt64/factor {
		return fmt.Errorf("%q is not a size; write a number of bytes, or one with a unit, such as 32KiB or 1MiB", text)
	}
	*s = Size(n) * factor
	return nil
}

// String is the size in the greatest unit of 1024 that leaves no remainder: 32KiB, but 32769B.
func (s Size) String() string {
	for _, u := range units {
		if s != 0 && s%u.bytes == 0 {
			return strconv.FormatInt(int64(s/u.bytes), 10) + u.name
		}
	}
	return "0B"
}
