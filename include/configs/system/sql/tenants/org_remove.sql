-- The org's end in the central tables; its records stay, what opens doors goes. Again: no change.
UPDATE `{{ project }}.{{ central }}.org_api_keys`
SET status = 'REVOKED', revoked_at = @now, key_ciphertext = NULL
WHERE org_slug = @org_slug AND status = 'ACTIVE';

UPDATE `{{ project }}.{{ central }}.org_integration_credentials`
SET status = 'DELETED', ciphertext = NULL, updated_at = @now
WHERE org_slug = @org_slug AND status = 'ACTIVE';

UPDATE `{{ project }}.{{ central }}.org_subscriptions`
SET status = 'CANCELLED', updated_at = @now
WHERE org_slug = @org_slug AND status != 'CANCELLED';

UPDATE `{{ project }}.{{ central }}.org_profiles`
SET status = 'DELETED', deleted_at = @now, updated_at = @now
WHERE org_slug = @org_slug AND status != 'DELETED';
