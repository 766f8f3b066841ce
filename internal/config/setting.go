package config

import (
	"reflect"
	"sync"

	"github.com/alecthomas/kong"
)

// Setting describes one setting, by the tags of its field in [Serve].
type Setting struct {
	Name string // of the flag
	// Reload: the setting takes effect without a restart (tag reload).
	Reload bool
	// Path: the setting names a file (tag path). One that also has Reload is part of the configuration: a change of its
	// content reloads the configuration.
	Path bool
	// Secret: the setting is a secret, or names a file that holds one (tag secret).
	Secret bool

	field int // index in Serve
}

// settings returns the settings in the order of Serve's fields.
var settings = sync.OnceValue(func() []Setting {
	s := new(Serve)
	fields := make(map[uintptr]int)
	v := reflect.ValueOf(s).Elem()
	for i := range v.NumField() {
		fields[v.Field(i).Addr().Pointer()] = i
	}
	var all []Setting
	for _, flag := range kong.Must(s, kong.NoDefaultHelp(), DecimalNumbers()).Model.Flags {
		all = append(all, Setting{
			Name: flag.Name, Reload: flag.Tag.Has("reload"), Path: flag.Tag.Has("path"), Secret: flag.Tag.Has("secret"),
			field: fields[flag.Target.Addr().Pointer()],
		})
	}
	return all
})

// value returns the setting's value in s.
func (f Setting) value(s *Serve) any { return reflect.ValueOf(s).Elem().Field(f.field).Interface() }

// text returns the setting's value in s where it is a string or a Secret, and "" for other types.
func (f Setting) text(s *Serve) string {
	if v := reflect.ValueOf(s).Elem().Field(f.field); v.Kind() == reflect.String {
		return v.String()
	}
	return ""
}

// text returns a setting by its name where it is a string or a Secret, and "" for other types.
func (s *Serve) text(setting string) string {
	for _, f := range settings() {
		if f.Name == setting {
			return f.text(s)
		}
	}
	return ""
}

// settingNames returns the names of the settings that a file can have.
func settingNames() []string {
	var names []string
	for _, f := range settings() {
		if f.Name != "config" {
			names = append(names, f.Name)
		}
	}
	return names
}

// Differences returns the settings that differ between two configurations, in the order of Serve's fields.
func Differences(a, b *Serve) []Setting {
	var differing []Setting
	for _, f := range settings() {
		x, y := f.value(a), f.value(b)
		if same := reflect.DeepEqual(x, y) || emptyList(x) && emptyList(y); !same {
			differing = append(differing, f)
		}
	}
	return differing
}

func emptyList(v any) bool {
	list, ok := v.([]string)
	return ok && len(list) == 0
}

// Files returns the files that are part of the configuration: the one with the settings, and those that it names and
// that take effect without a restart.
func (s *Serve) Files() []string {
	var files []string
	for _, f := range settings() {
		if path := f.text(s); f.Path && f.Reload && path != "" {
			files = append(files, path)
		}
	}
	return files
}
