package config

import (
	"reflect"

	"github.com/alecthomas/kong"
)

// Differences returns the names of the settings that differ between two configurations, in the order of Serve's fields.
// It tells no value.
func Differences(a, b *Serve) []string {
	var names []string
	before, after := values(a), values(b)
	for _, flag := range kong.Must(new(Serve), kong.NoDefaultHelp()).Model.Flags {
		x, y := before[flag.Name], after[flag.Name]
		if same := reflect.DeepEqual(x, y) || emptyList(x) && emptyList(y); !same {
			names = append(names, flag.Name)
		}
	}
	return names
}

// values returns the settings by name.
func values(s *Serve) map[string]any {
	copied := *s
	all := make(map[string]any)
	for _, flag := range kong.Must(&copied, kong.NoDefaultHelp()).Model.Flags {
		all[flag.Name] = flag.Target.Interface()
	}
	return all
}

func emptyList(v any) bool {
	list, ok := v.([]string)
	return ok && len(list) == 0
}
