package config

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// envPrefix begins the name of every environment variable that the hub reads.
const envPrefix = "MASTERSOCKET_"

// envName returns the environment variable of a flag: MASTERSOCKET_MAX_MESSAGE_BYTES for max-message-bytes.
func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// sources remembers where the settings of a Serve come from.
type sources struct {
	origins  map[string]string // the place of each setting that isn't the default
	problems problems          // settings in the environment and the file that could not be taken
	unknown  []string          // warnings about variables that are no setting
	environ  func() []string   // os.Environ, except in tests and checks
	// given sets the fields whose flags stand on the command line, by name. They are functions so that no print of a
	// Serve shows a secret among them.
	given map[string]func(field reflect.Value)
	file  string // the value of --config on the command line
}

// BeforeResolve is kong's hook between the flags and the defaults: it adds what the file and the environment say. What
// is wrong with them is kept for [Serve.Load], so that one run shows all of it.
func (s *Serve) BeforeResolve(ctx *kong.Context, node *kong.Path) error {
	flags := s.flags(node)
	s.origins, s.problems, s.unknown = make(map[string]string), nil, nil
	if s.environ == nil {
		s.environ = os.Environ
	}
	s.Node = hostName()
	s.takeGiven(ctx, flags)
	env := s.readEnv(flags)
	path := s.file
	if s.given["config"] == nil {
		path = env["config"]
	}
	file := make(map[string]string)
	if path != "" {
		readSettings(path, flags, &s.problems, func(name, text, where string) {
			file[name], s.origins[name] = text, where
		})
	}
	for name := range env {
		s.origins[name] = envName(name)
	}
	for name := range s.given {
		s.origins[name] = "--" + name
	}
	// kong takes the last answer, and asks for no flag that stands on the command line.
	ctx.AddResolver(s.resolver(flags, file))
	ctx.AddResolver(s.resolver(flags, env))
	return nil
}

// flags returns kong's flags of the fields of s by name, and none that the command around s may have besides.
func (s *Serve) flags(node *kong.Path) map[string]*kong.Flag {
	fields := make(map[uintptr]bool)
	v := reflect.ValueOf(s).Elem()
	for i := range v.NumField() {
		fields[v.Field(i).Addr().Pointer()] = true
	}
	flags := make(map[string]*kong.Flag)
	for _, f := range node.Flags {
		if f.Target.CanAddr() && fields[f.Target.Addr().Pointer()] {
			flags[f.Name] = f
		}
	}
	return flags
}

// takeGiven notes which settings stand on the command line. In a [Serve.Reload] they are known already, and kong has just
// set the defaults: takeGiven then sets the fields.
func (s *Serve) takeGiven(ctx *kong.Context, flags map[string]*kong.Flag) {
	if s.given != nil {
		for name, set := range s.given {
			set(flags[name].Target)
		}
		return
	}
	s.given = make(map[string]func(reflect.Value))
	for _, p := range ctx.Path {
		if p.Flag == nil || flags[p.Flag.Name] != p.Flag {
			continue
		}
		value := ctx.Value(p)
		s.given[p.Flag.Name] = func(field reflect.Value) { field.Set(value) }
		if p.Flag.Name == "config" {
			s.file = value.String()
		}
	}
}

// readEnv returns the settings in the environment that can be taken.
func (s *Serve) readEnv(flags map[string]*kong.Flag) map[string]string {
	byVariable, variables := make(map[string]string), []string{}
	for name := range flags {
		byVariable[envName(name)] = name
		variables = append(variables, envName(name))
	}
	slices.Sort(variables)
	env := make(map[string]string)
	for _, pair := range s.environ() {
		variable, text, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(variable, envPrefix) || text == "" {
			continue
		}
		name, ok := byVariable[variable]
		switch {
		case !ok && !foreign(variable):
			s.unknown = append(s.unknown, fmt.Sprintf("%s: no setting has this name, so the variable has no effect%s",
				variable, suggest(variable, variables)))
		case !ok:
		default:
			if wrong := decodable(flags[name], text); wrong != "" {
				s.problems.addf(variable, "%s", wrong)
				continue
			}
			env[name] = text
		}
	}
	slices.Sort(s.unknown)
	return env
}

// kubernetes matches what Kubernetes puts into the environment of every pod for a Service named mastersocket or
// mastersocket-anything.
var kubernetes = regexp.MustCompile(`(^|_)(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)?)$`)

// foreign reports whether a variable with our prefix is not for the hub: it is for the client commands, or Kubernetes set
// it.
func foreign(variable string) bool {
	name := strings.TrimPrefix(variable, envPrefix)
	return name == "URL" || name == "ADMIN_URL" || kubernetes.MatchString(name)
}

// resolver answers kong with the given texts. It leaves out what stands on the command line, which kong doesn't know in a
// reload.
func (s *Serve) resolver(flags map[string]*kong.Flag, texts map[string]string) kong.Resolver {
	return kong.ResolverFunc(func(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
		text, ok := texts[flag.Name]
		if _, given := s.given[flag.Name]; !ok || given || flags[flag.Name] != flag {
			return nil, nil
		}
		return text, nil
	})
}

// decodable returns what is wrong with a text as the value of the flag, or nothing. It repeats no secret: any text is a
// valid one.
func decodable(flag *kong.Flag, text string) string {
	target := reflect.New(flag.Target.Type()).Elem()
	scan := kong.Scan().PushTyped(text, kong.FlagValueToken)
	err := flag.Mapper.Decode(&kong.DecodeContext{Value: flag.Value, Scan: scan}, target)
	if err == nil {
		return ""
	}
	switch target.Interface().(type) {
	case time.Duration:
		return fmt.Sprintf("%q is not a duration; write a number with a unit, such as %s", text, example(flag))
	case bool:
		return fmt.Sprintf("%q is neither true nor false", text)
	}
	return err.Error()
}

// example is a right value of the flag.
func example(flag *kong.Flag) string {
	switch {
	case flag.Default != "":
		return flag.Default
	case flag.IsBool():
		return "true"
	}
	return flag.FormatPlaceHolder()
}

// hostName is the name of an instance without --node.
func hostName() string {
	name, err := os.Hostname()
	if err != nil || checkName(name) != "" {
		return "mastersocket"
	}
	return name
}

// Reload returns the settings as they would be if the hub were started now with the same command line: the file is read
// again. s itself is not changed. [Serve.Load] tells what is wrong with the settings.
func (s *Serve) Reload() (*Serve, error) {
	fresh := &Serve{sources: sources{given: s.given, file: s.file, environ: s.environ}}
	if err := fresh.parse(); err != nil {
		return nil, err
	}
	return fresh, nil
}

// parse parses s by itself, without a command line around it.
func (s *Serve) parse(args ...string) error {
	parser, err := kong.New(s, kong.NoDefaultHelp(), DecimalNumbers())
	if err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	_, err = parser.Parse(args)
	return err
}
