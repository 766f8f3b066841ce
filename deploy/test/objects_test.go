package deploy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/util/yaml"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// objects are the manifests of one deployment.
type objects struct {
	t   *testing.T
	all []runtime.Object
}

// strictDecoder decodes every kind that the manifests use, and refuses unknown and repeated fields.
func strictDecoder(t *testing.T) runtime.Decoder {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		appsv1.AddToScheme, autoscalingv2.AddToScheme, batchv1.AddToScheme, corev1.AddToScheme, networkingv1.AddToScheme,
		policyv1.AddToScheme, rbacv1.AddToScheme, gatewayv1.Install, monitoringv1.AddToScheme, addKEDA,
	} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	return json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme, scheme, json.SerializerOptions{Yaml: true, Strict: true})
}

// decode reads YAML documents strictly.
func decode(t *testing.T, manifests []byte) *objects {
	t.Helper()
	o := &objects{t: t}
	decoder, seen := strictDecoder(t), make(map[string]bool)
	documents := yaml.NewDocumentDecoder(io.NopCloser(bytes.NewReader(manifests)))
	for {
		document := make([]byte, len(manifests))
		n, err := documents.Read(document)
		if errors.Is(err, io.EOF) {
			return o
		}
		if err != nil {
			t.Fatal(err)
		}
		text := document[:n]
		if strings.TrimSpace(withoutComments(string(text))) == "" {
			continue
		}
		object, _, err := decoder.Decode(text, nil, nil)
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		name := describe(object)
		if seen[name] {
			t.Errorf("%s is there twice", name)
		}
		seen[name] = true
		o.all = append(o.all, object)
	}
}

func withoutComments(text string) string {
	var kept []string
	for line := range strings.Lines(text) {
		if s := strings.TrimSpace(line); s != "---" && !strings.HasPrefix(s, "#") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

// describe returns the kind and the name of an object.
func describe(object runtime.Object) string {
	m, err := meta.Accessor(object)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%s %s", object.GetObjectKind().GroupVersionKind().Kind, m.GetName())
}

// named returns the object of type T with the name.
func named[T runtime.Object](o *objects, name string) T {
	o.t.Helper()
	for _, object := range of[T](o) {
		if m, err := meta.Accessor(object); err == nil && m.GetName() == name {
			return object
		}
	}
	var none T
	o.t.Fatalf("there is no %T %q among %s", none, name, o)
	return none
}

// has reports whether an object has that name in the form of [describe].
func (o *objects) has(description string) bool {
	for _, object := range o.all {
		if describe(object) == description {
			return true
		}
	}
	return false
}

// of returns the objects of type T.
func of[T runtime.Object](o *objects) []T {
	var found []T
	for _, object := range o.all {
		if x, ok := object.(T); ok {
			found = append(found, x)
		}
	}
	return found
}

// String lists the objects.
func (o *objects) String() string {
	var names []string
	for _, object := range o.all {
		names = append(names, describe(object))
	}
	return strings.Join(names, ", ")
}
