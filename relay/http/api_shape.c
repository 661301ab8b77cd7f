/* api_shape.c - what do the endpoints take and give? The rows stand beside their handlers; here
 * they are found. An endpoint without one works, and is documented by its path and help alone. */
#include "relay/http/api_priv.h"

static const struct api_shape *const shapes[] = {
    api_accounts_shapes, api_audit_shapes,     api_domain_verify_shapes, api_domains_shapes,
    api_emails_shapes,   api_key_acts_shapes,  api_keys_shapes,          api_sub_accounts_shapes,
    api_messages_shapes, api_openapi_shapes,   api_queue_shapes,         api_status_shapes,
    api_steer_shapes,    api_upstreams_shapes,
};

const struct api_shape *api_shape_find(api_handler *run)
{
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
        for (const struct api_shape *shape = shapes[i]; shape->run != NULL; shape++)
            if (shape->run == run)
                return shape;
    return NULL;
}
