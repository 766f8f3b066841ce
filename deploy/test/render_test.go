package deploy

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"sigs.k8s.io/yaml"
)

const chartDir = "../helm/mastersocket"

func loadChart(t *testing.T) *chart.Chart {
	t.Helper()
	c, err := loader.Load(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	return c
}

// install renders the chart as `helm install hub` in namespace hubs does, with values in YAML.
func install(t *testing.T, values string) (manifests []byte, notes string, err error) {
	t.Helper()
	return installWith(t, values, engine.Engine{Strict: true})
}

func installWith(t *testing.T, values string, e engine.Engine) (manifests []byte, notes string, err error) {
	t.Helper()
	c, rendered := loadChart(t), map[string]string(nil)
	vals, err := chartutil.ReadValues([]byte(values))
	if err != nil {
		t.Fatal(err)
	}
	caps := chartutil.DefaultCapabilities.Copy()
	caps.KubeVersion = *kubernetes(t, "v1.31.0")
	if !chartutil.IsCompatibleRange(c.Metadata.KubeVersion, caps.KubeVersion.String()) {
		t.Fatalf("the chart is not for Kubernetes %s", caps.KubeVersion.String())
	}
	release := chartutil.ReleaseOptions{Name: "hub", Namespace: "hubs", Revision: 1, IsInstall: true}
	all, err := chartutil.ToRenderValues(c, vals, release, caps)
	if err != nil {
		return nil, "", err
	}
	if rendered, err = e.Render(c, all); err != nil {
		return nil, "", err
	}
	var names []string
	for name := range rendered {
		names = append(names, name)
	}
	slices.Sort(names)
	var out bytes.Buffer
	for _, name := range names {
		if strings.HasSuffix(name, "NOTES.txt") {
			notes = rendered[name]
			continue
		}
		out.WriteString("\n---\n# " + name + "\n" + rendered[name])
	}
	return out.Bytes(), notes, nil
}

func kubernetes(t *testing.T, version string) *chartutil.KubeVersion {
	t.Helper()
	v, err := chartutil.ParseKubeVersion(version)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// installed is install for valid values.
func installed(t *testing.T, values string) (*objects, string) {
	t.Helper()
	manifests, notes, err := install(t, values)
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, manifests), notes
}

// settings parses the --config file of a ConfigMap.
func settings(t *testing.T, text string) map[string]any {
	t.Helper()
	var s map[string]any
	if err := yaml.UnmarshalStrict([]byte(text), &s); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return s
}
